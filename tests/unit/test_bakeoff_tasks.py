"""What a bake-off makes of files of examples: tasks, how they are scored, leaks, few-shot templates."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from eval.metrics import METRICS
from ragtune.bakeoff.few_shot import few_shot, few_shot_with_passages
from ragtune.bakeoff.leaks import check_leaks
from ragtune.bakeoff.task import KNOWN, Task, drawn, kind_of, read_tasks
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
    with pytest.raises(UnknownName, match="did you mean 'exact_match'"):
        read_tasks([train], [heldout], {"q": ["exact_macth"]})
    with pytest.raises(UnknownName, match="unknown task 'p'"):
        read_tasks([train], [heldout], {"p": ["exact_match"]})


def test_every_metric_of_the_evaluator_can_be_asked_for_that_needs_no_judge() -> None:
    assert set(METRICS) - {"judge"} <= KNOWN


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


def test_a_held_out_example_that_is_trained_on_is_fatal_also_across_tasks() -> None:
    train = examples(TEXTS)
    leaked = train[3].model_copy(update={"id": "h-1", "query": train[3].query.upper().replace(" ", "  ")})
    other = Task("more", tuple(examples(TEXTS, "more", "m")), (leaked,), ("token_f1",))
    with pytest.raises(RefusedArtifact, match=r"1 held-out examples are trained on.*\n  h-1 \(more\) is train-3"):
        check_leaks([task(train, examples(TEXTS, part="held")), other])


def test_the_same_question_with_another_answer_is_another_fact() -> None:
    train = examples(TEXTS)
    check_leaks([task(train, [train[3].model_copy(update={"answers": ("another",)})])])


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
    assert task(examples(TEXTS), []).max_tokens == 16
    assert task(examples(["x" * 100]), []).max_tokens == 40
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
