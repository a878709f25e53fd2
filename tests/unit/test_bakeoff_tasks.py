"""What a bake-off makes of files of examples: tasks, how they are scored, leaks, few-shot templates."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from ragtune.bakeoff.few_shot import few_shot, few_shot_with_passages, shots
from ragtune.bakeoff.gold import told, without_contexts
from ragtune.bakeoff.probe import Probed, probe
from ragtune.bakeoff.sample import in_fair_order
from ragtune.bakeoff.task import Task, drawn, kind_of, read_tasks
from ragtune.bakeoff.task_names import pair_names
from ragtune.bakeoff.toml import written
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.examples import UNANSWERABLE, Example
from ragtune.template import Template


def examples(answers: Sequence[str], task: str = "default", part: str = "train") -> list[Example]:
    return [
        Example(id=f"{part}-{n}", query=f"{part} question {n} of {task}?", answers=(answer,), task=task)
        for n, answer in enumerate(answers)
    ]


def file(path: Path, made: Sequence[Example]) -> Path:
    path.write_text("".join(example.model_dump_json(exclude_defaults=True) + "\n" for example in made))
    return path


TEXTS = [f"{n} months" for n in range(12)]
LABELS = ["refund", "delivery", "other"] * 8
OBJECTS = [json.dumps({"brand": f"b{n}", "price": str(n)}) for n in range(12)]


def test_a_task_is_what_its_examples_say(tmp_path: Path) -> None:
    train = file(tmp_path / "a.jsonl", [*examples(TEXTS, "facts"), *examples(OBJECTS, "listings")])
    heldout = file(tmp_path / "b.jsonl", [*examples(["x"], "facts", "held"), *examples(["{}"], "listings", "held2")])
    with pytest.raises(RefusedArtifact, match="the id 'train-0'"):
        read_tasks([train], [heldout])
    train = file(tmp_path / "a.jsonl", [*examples(TEXTS, "facts"), *examples(OBJECTS, "listings", "other")])
    facts, listings = read_tasks([train], [heldout])
    assert (facts.name, len(facts.train), len(facts.heldout)) == ("facts", 12, 1)
    assert listings.metrics == ("field_f1", "valid_json")
    assert "keys brand, price" in listings.instruction


def test_examples_that_name_no_task_are_of_the_pair_of_files_they_stand_in(tmp_path: Path) -> None:
    train = [file(tmp_path / f"{name}-train.jsonl", examples(TEXTS, part=name)) for name in ("Plants", "tools")]
    heldout = [
        file(tmp_path / f"{name}-heldout.jsonl", examples(TEXTS, part=name + "h")) for name in ("Plants", "tools")
    ]
    assert [task.name for task in read_tasks(train, heldout)] == ["plants", "tools"]
    with pytest.raises(RefusedArtifact, match="as many --heldout as --train"):
        read_tasks(train, heldout[:1])


def test_the_metrics_fit_the_answers_unless_others_are_asked_for(tmp_path: Path) -> None:
    assert [kind_of(examples(answers)) for answers in (TEXTS, LABELS, OBJECTS)] == ["text", "label", "json"]
    train, heldout = (
        file(tmp_path / "q-t.jsonl", examples(LABELS)),
        file(tmp_path / "q-h.jsonl", examples(["refund"], part="h")),
    )
    (task,) = read_tasks([train], [heldout])
    assert task.metrics == ("label_accuracy", "macro_f1") and task.labels == ("delivery", "other", "refund")
    assert "delivery, other, refund" in task.instruction
    (task,) = read_tasks([train], [heldout], {"q": ["exact_match"]})
    assert task.metrics == ("exact_match",)
    with pytest.raises(UnknownName, match="unknown task 'p'"):
        read_tasks([train], [heldout], {"p": ["exact_match"]})


def test_many_labels_are_labels_and_too_many_to_be_listed_in_prompts() -> None:
    banking = examples([f"label {n}" for n in range(77)] * 5)
    assert kind_of(banking) == "label"
    assert task(banking, []).instruction == "Reply with the label alone, and nothing else."
    assert kind_of(examples([f"label {n}" for n in range(77)] * 3)) == "text"
    assert kind_of(examples([f"label {n}" for n in range(201)] * 5)) == "text"


@pytest.mark.parametrize(
    ("train", "heldout", "names"),
    [
        (["train-a.csv", "train-b.csv"], ["test-a.csv", "test-b.csv"], ["a", "b"]),
        (["a/train.csv", "b/train.csv"], ["a/dev.csv", "b/dev.csv"], ["a", "b"]),
        (["train/a.csv"], ["heldout/a.csv"], ["a"]),
        (["x/one.csv", "y/two.csv"], ["z/three.csv", "z/four.csv"], ["task-1", "task-2"]),
        (["d/a-train.csv", "e/a-train.csv"], ["d/a-validation.csv", "e/a-validation.csv"], ["d", "e"]),
        (["held_out_faq.csv"], ["faq.csv"], ["faq"]),
    ],
)
def test_a_pair_of_files_is_called_by_what_their_names_share_but_for_the_part(
    train: list[str], heldout: list[str], names: list[str]
) -> None:
    found = pair_names(list(map(Path, train)), list(map(Path, heldout)))
    assert [found[Path(file)] for file in heldout] == [found[Path(file)] for file in train] == names


def test_two_tasks_that_would_have_one_name_are_refused(tmp_path: Path) -> None:
    both = file(tmp_path / "t.jsonl", [*examples(TEXTS, "My facts"), *examples(TEXTS, "my-facts", "other")])
    with pytest.raises(RefusedArtifact, match="'my-facts' would be called 'my-facts', as is 'My facts'"):
        read_tasks([both], [both])
    nameless = file(tmp_path / "n.jsonl", examples(TEXTS, "質問"))
    with pytest.raises(RefusedArtifact, match="rename it"):
        read_tasks([nameless], [nameless])


def test_every_beginning_of_the_held_out_questions_is_a_fair_sample_of_them() -> None:
    made = [Example(id=str(n), query="?", answers=("a",), slice="rare" if n >= 90 else "") for n in range(100)]
    ordered = in_fair_order(made)
    assert sorted(map(int, (e.id for e in ordered))) == list(range(100)) and ordered == in_fair_order(made)
    assert 4 <= sum(e.slice == "rare" for e in ordered[:50]) <= 6
    plain = [int(e.id) for e in ordered if not e.slice][:30]
    assert 30 < sum(plain) / 30 < 60  # of 0 to 89: not the head of the file


def test_a_task_without_one_of_its_parts_is_refused(tmp_path: Path) -> None:
    train = file(tmp_path / "t.jsonl", examples(TEXTS, "facts"))
    heldout = file(tmp_path / "h.jsonl", examples(TEXTS, "others", "held"))
    with pytest.raises(RefusedArtifact, match="no --train file has examples of task 'others'"):
        read_tasks([train], [heldout])
    both = file(tmp_path / "b.jsonl", [*examples(TEXTS, "others", "o"), *examples(TEXTS, "facts")])
    with pytest.raises(RefusedArtifact, match="no --heldout file has examples of task 'facts'"):
        read_tasks([both], [heldout])
    with pytest.raises(RefusedArtifact, match="3 training examples; it takes 8"):
        read_tasks([file(tmp_path / "few.jsonl", examples(TEXTS[:3], "others", "few"))], [heldout])
    with pytest.raises(RefusedArtifact, match="holds no examples"):
        read_tasks([train], [file(tmp_path / "none.jsonl", [])])


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "t.jsonl"
    broken.write_text('{"id": "1", "query": "?", "answers": ["a"]}\n{"id": "2", "qery": "?"}\n')
    with pytest.raises(RefusedArtifact, match=r"line 2: qery: unknown field 'qery'; did you mean 'query'"):
        read_tasks([broken], [broken])


def task(train: Sequence[Example], heldout: Sequence[Example]) -> Task:
    return Task("facts", tuple(train), tuple(heldout), ("token_f1",))


def test_what_retrieval_serves_is_asked_without_its_context_and_names_the_document_that_holds_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "rivers").mkdir()
    (tmp_path / "rivers" / "rhine.md").write_text("# Rhine\n\nIt rises\nin the Alps. It is long.")
    held = [
        Example(id="1", query="Where?", answers=("the Alps",), context="It rises in  the Alps."),
        Example(id="2", query="Who?", answers=("x",), context="Nobody knows.", slice="s"),
        Example(id="3", query="When?", answers=("y",), context="It rises in  the Alps.", gold_documents=("own.md",)),
    ]
    before = task(examples(TEXTS), held)
    after = without_contexts(before, tmp_path)
    assert [example.context for example in after.heldout] == ["", "", ""]
    assert [example.gold_documents for example in after.heldout] == [("rivers/rhine.md",), (), ("own.md",)]
    assert "3 held-out questions are asked without" in told(before, after) and "for 2 of 3" in told(before, after)
    assert without_contexts(after, tmp_path) is after


def looked(made: Task, passage: dict[str, str]) -> Probed:
    """What is seen of a service that finds this passage for every question."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    answer = {"id": "q", "mode": "m", "resolved_mode": "m", "versions": {}, "timings": {}, "usage": usage}
    answer |= {"text": "so", "finish_reason": "stop"}
    found = {"passages": [{"id": "p", "document": "o.md", "text": "Nothing.", "start": 0, "end": 1} | passage]}
    return probe(lambda path, _: found if path.endswith("/search") else answer, "docs", [made]).tasks["facts"]


def served(made: Task, passage: dict[str, str]) -> float:
    """The share of training questions that this passage answers."""
    return looked(made, passage).found


def test_a_gold_document_or_most_words_of_a_sentence_count_as_found() -> None:
    sentence = "The cover of the machine is kept for two years after it was sold."
    said = task(examples([f"{sentence} {n}" for n in range(12)]), [])
    assert served(said, {"text": "A machine that was sold: its cover is kept for two whole years."}) == 1
    assert served(said, {"text": "The machine is of the best that was made."}) == 0
    gold = [e.model_copy(update={"gold_documents": ("g.md",)}) for e in examples(OBJECTS)]
    assert served(task(gold, []), {"document": "g.md"}) == 1
    assert served(task(gold, []), {"document": "o.md"}) == 0
    assert served(task(examples(OBJECTS), []), {"text": OBJECTS[0]}) == 0


def test_the_examples_that_a_template_shows_are_searched_for_too() -> None:
    unanswerable = Example(id="u", query="Who knows?", answers=("Unknown.",), slice=UNANSWERABLE)
    made = task([*examples([f"{n} months" for n in range(97)]), unanswerable], [])
    probed = looked(made, {})
    assert all(probed.passages.get(shot.id) for shot in shots(made)) and probed.searched == 40


def test_examples_shown_for_retrieval_bring_no_context_of_their_own() -> None:
    made = task([e.model_copy(update={"context": "The text."}) for e in examples(TEXTS)], [])
    assert "The text." in few_shot(made) and "The text." not in few_shot(made, contexts=False)


def test_a_few_shot_template_is_made_of_training_examples_and_reads() -> None:
    unanswerable = Example(id="u", query="Who knows?", answers=("Unknown.",), slice=UNANSWERABLE)
    made = task([*examples(TEXTS), unanswerable], examples(TEXTS, part="held"))
    text = few_shot(made)
    template = Template.parse(text)
    assert text == few_shot(made)
    assert template.examples[0].assistant == "Unknown."
    assert len(template.examples) == 3 and "answer: Unknown." in template.system
    assert not any("held" in shot.user for shot in template.examples)


def test_labels_in_a_few_shot_template_differ() -> None:
    made = task(examples(LABELS), examples(["refund"], part="held"))
    assert len({shot.assistant for shot in Template.parse(few_shot(made)).examples}) == 3


def test_shots_with_passages_look_as_prompts_do() -> None:
    made = task(examples(TEXTS), examples(TEXTS, part="held"))
    passages = {example.id: ("Care\nThe best.", "Parts\nAnother.") for example in made.train}
    shot = Template.parse(few_shot_with_passages(made, passages) or "").examples[0]
    assert shot.user.startswith("[2] Parts\nAnother.\n\n[1] Care\nThe best.\n\nQuestion: ")
    assert few_shot_with_passages(made, {}) is None


def test_a_sample_is_spread_over_the_file_and_always_the_same() -> None:
    made = task(examples(TEXTS), [])
    assert [example.id for example in drawn(made, 4)] == ["train-0", "train-3", "train-6", "train-9"]
    assert len(drawn(made, 100)) == 12


def test_room_for_an_answer_is_room_for_the_longest() -> None:
    assert task(examples(TEXTS), []).max_tokens == 32
    assert task(examples(["x" * 100]), []).max_tokens == 64
    assert task(examples(["x" * 100_000]), []).max_tokens == 512


def test_what_is_written_as_toml_reads_as_it_was() -> None:
    values = {
        "text": 'a "quoted" \\ back\nline\x7f ü 😀',
        "numbers": [1, 2.5],
        "no": False,
        "none": [],
        "section": {"rate": 2e-2},
        "rows": [{"limits": {"a-b": 3}, "path": Path("x/y")}, {"tasks": ["a"]}],
    }
    read = tomllib.loads(written(values, "about it"))
    assert read == values | {"rows": [{"limits": {"a-b": 3}, "path": "x/y"}, {"tasks": ["a"]}]}
