"""Suites: read as written, and refused with the place of the mistake."""

import json
from pathlib import Path

import pytest

from eval.plan import plan
from eval.suite import read_suite
from ragtune.errors import RefusedArtifact

SUITE = """
name = "demo"

[[tasks]]
name = "knowledge"
examples = "heldout.jsonl"
metrics = ["containment", "token_f1"]

[[tasks]]
name = "extraction"
examples = "listings.jsonl"
metrics = ["exact_match"]
limit = 2

[[arms]]
mode = "base"

[[arms]]
mode = "rag"
label = "retrieval"
tasks = ["knowledge"]

[[comparisons]]
task = "knowledge"
metric = "containment"
arm = "retrieval"
over = "base"
margin = 20
"""


def gate(fields: str) -> str:
    return f'[[gates]]\narm = "retrieval"\n{fields}\n\n[[comparisons]]'


def write(folder: Path, text: str) -> Path:
    path = folder / "suite.toml"
    path.write_text(text)
    return path


def write_examples(path: Path, count: int, slices: tuple[str, ...] = ("",)) -> None:
    lines = [
        json.dumps({"id": f"{slice_}{number}", "query": "q", "answers": [f"none {slice_}"], "slice": slice_})
        for slice_ in slices
        for number in range(count)
    ]
    path.write_text("\n".join(lines))


def test_a_suite_is_read_with_its_defaults(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SUITE))
    knowledge, extraction = suite.tasks
    assert (knowledge.headline, knowledge.examples) == ("containment", tmp_path / "heldout.jsonl")
    assert [arm.name for arm in suite.arms] == ["base", "retrieval"]
    assert suite.asked(suite.arms[0]) == [knowledge, extraction] and suite.asked(suite.arms[1]) == [knowledge]
    assert (suite.concurrency, suite.alone) == (32, 8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("margin", "margn"), "comparisons, number 1, margn: unknown field 'margn'; did you mean 'margin'"),
        (('over = "base"', 'ovr = "base"'), "comparisons, number 1, ovr: unknown field 'ovr'; did you mean 'over'?"),
        (("limit", "limits"), "tasks, number 2, limits: unknown field 'limits'; did you mean 'limit'?"),
        (("name = ", "concurency = 3\nname = "), "unknown field 'concurency'; did you mean 'concurrency'?"),
        (('mode = "rag"', 'mode = "rag+"'), "arms, number 2, mode: mode 'rag+': there is an empty part"),
        (('label = "retrieval"', 'label = "base"'), "two arms are called 'base'"),
        (('name = "extraction"', 'name = "knowledge"'), "two tasks are called 'knowledge'"),
        (('"token_f1"', '"token_f2"'), "unknown metric 'token_f2'; did you mean 'token_f1'"),
        (("limit = 2", 'primary = "containment"'), "primary metric 'containment' is not among the task's metrics"),
        (('over = "base"', 'over = "bass"'), "unknown arm 'bass'; did you mean 'base'?"),
        (('arm = "retrieval"', 'arm = "rag"'), "unknown arm 'rag'"),
        (('task = "knowledge"', 'task = "knowlege"'), "unknown task 'knowlege'; did you mean 'knowledge'?"),
        (('tasks = ["knowledge"]', 'tasks = ["extractio"]'), "unknown task 'extractio'"),
        (('tasks = ["knowledge"]', "limits = { knowlege = 3 }"), "unknown task 'knowlege'; did you mean 'knowledge'?"),
        (('tasks = ["knowledge"]', "limits = { knowledge = 0 }"), "greater than or equal to 1"),
        (('tasks = ["knowledge"]', 'tasks = ["extraction"]'), "on 'knowledge', which arm 'retrieval' is not asked"),
        (('metric = "containment"', 'metric = "exact_match"'), "unknown metric of the task 'exact_match'"),
        (('mode = "base"', 'label = "x"'), "arms, number 1: give an arm either a mode, or an endpoint and a model"),
        (('mode = "base"', 'mode = "base"\nendpoint = "http://a/v1"'), "give an arm either a mode, or an endpoint"),
        (('mode = "base"', 'endpoint = "http://a/v1"'), "an arm with an endpoint needs the model"),
        (('mode = "base"', 'endpoint = "a/v1"\nmodel = "m"'), "'a/v1' is no URL; give one like https://"),
        (('mode = "base"', 'mode = "base"\nprice_in = 1'), "price_in belongs to an arm with an endpoint"),
        (
            ('mode = "base"', 'mode = "base"\ncontext = "gold"'),
            "context = 'gold' needs a mode with rag, and 'base' has",
        ),
        (('mode = "base"', 'mode = "base"\ncontext = "golden"'), "arms, number 1, context: Input should be 'none',"),
        (('mode = "base"', 'endpoint = "http://a"\nmodel = "m"\ncontext = "none"'), "an endpoint retrieves nothing"),
        (("limit = 2", 'format = "xml"'), "tasks, number 2, format: Input should be 'examples',"),
        (('name = "demo"', 'name = "demo"\nseeds = [1, 1]'), "two repeats have the same seed"),
        (('name = "demo"', 'name = "demo"\nseeds = []'), "seeds: Tuple should have at least 1 item"),
        (
            ("[[comparisons]]", "[budget]\np95 = 3\n[[comparisons]]"),
            "budget, p95: unknown field 'p95'; did you mean 'p95_ms'",
        ),
        (
            ("[[comparisons]]", "[judge]\nmodle = 3\n[[comparisons]]"),
            "judge, modle: unknown field 'modle'; did you mean 'mode",
        ),
        (("[[comparisons]]", gate("least = 3")), "gates, number 1, task: Field required"),
        (
            ("[[comparisons]]", gate('task = "extraction"\nleast = 3')),
            "a gate is on 'extraction', which arm 'retrieval' is",
        ),
        (
            ("[[comparisons]]", gate('task = "knowledge"\nmetric = "field_f1"\nleast = 3')),
            "unknown metric of the task 'fie",
        ),
        (('name = "demo"', "name = demo"), "not valid TOML"),
        (('name = "demo"\n', ""), "name: Field required"),
    ],
)
def test_a_mistake_in_a_suite_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert change[0] in SUITE
    with pytest.raises(RefusedArtifact) as refused:
        read_suite(write(tmp_path, SUITE.replace(*change, 1)))
    assert says in refused.value.message


def test_a_suite_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RefusedArtifact, match=r"cannot read suite .*nowhere\.toml: No such file"):
        read_suite(tmp_path / "nowhere.toml")


def test_a_limit_keeps_the_first_of_each_slice(tmp_path: Path) -> None:
    write_examples(tmp_path / "listings.jsonl", 5, ("", "unanswerable"))
    write_examples(tmp_path / "heldout.jsonl", 1)
    examples = plan(read_suite(write(tmp_path, SUITE))).examples["extraction"]
    assert [example.id for example in examples] == ["0", "1", "unanswerable0", "unanswerable1"]


def test_labels_are_all_answers_of_the_whole_file(tmp_path: Path) -> None:
    lines = [{"id": str(n), "query": "q", "answers": [f"l{n}", "other"]} for n in range(4)]
    (tmp_path / "listings.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_examples(tmp_path / "heldout.jsonl", 1)
    suite = write(tmp_path, SUITE.replace('metrics = ["exact_match"]', 'metrics = ["label_accuracy"]'))
    planned = plan(read_suite(suite))
    (question,) = [one for one in planned.questions[0] if one.example.id == "1" and one.task.name == "extraction"]
    assert question.labels == planned.labels["extraction"] == ("l0", "l1", "l2", "l3", "other")


def test_columns_of_held_out_csv_files_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "listings.csv").write_text("asked,told\nq,a\n")
    text = SUITE.replace("listings.jsonl", "listings.csv")
    text = text.replace("limit = 2", 'limit = 2\ncsv = { query = "asked", answer = "told" }')
    (example,) = read_suite(write(tmp_path, text)).tasks[1].read()
    assert (example.query, example.answers) == ("q", ("a",))
    with pytest.raises(RefusedArtifact, match="unknown field 'qurey'; did you mean 'query'"):
        read_suite(write(tmp_path, text.replace('query = "asked"', 'qurey = "asked"')))


def test_an_arm_is_asked_its_tasks_in_turn(tmp_path: Path) -> None:
    write_examples(tmp_path / "heldout.jsonl", 3, ("", "unanswerable"))
    write_examples(tmp_path / "listings.jsonl", 2)
    both, one = plan(read_suite(write(tmp_path, SUITE))).questions
    assert [question.task.name[0] for question in both] == list("kekekkkk")
    assert len(one) == 6
    assert {question.refusals for question in one} == {("none unanswerable",)}
    assert both[1].refusals == ()


def test_an_arm_may_be_asked_only_the_first_of_each_slice_of_a_task(tmp_path: Path) -> None:
    write_examples(tmp_path / "heldout.jsonl", 3, ("", "unanswerable"))
    write_examples(tmp_path / "listings.jsonl", 2)
    limited = SUITE.replace('tasks = ["knowledge"]', "limits = { knowledge = 1 }")
    whole, part = plan(read_suite(write(tmp_path, limited))).questions
    assert [q.example.id for q in part if q.task.name == "knowledge"] == ["0", "unanswerable0"]
    assert [q.example.id for q in whole if q.task.name == "extraction"] == [
        q.example.id for q in part if q.task.name == "extraction"
    ]


def test_examples_that_are_missing_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(RefusedArtifact, match=r"heldout\.jsonl"):
        plan(read_suite(write(tmp_path, SUITE)))


def test_files_are_relative_to_the_suite(tmp_path: Path) -> None:
    text = SUITE.replace('name = "demo"', 'name = "demo"\ntrained_on = ["train.jsonl", "/data/more.jsonl"]')
    suite = read_suite(write(tmp_path, text))
    assert suite.trained_on == (tmp_path / "train.jsonl", Path("/data/more.jsonl"))


def test_every_example_is_asked_once_with_each_seed(tmp_path: Path) -> None:
    write_examples(tmp_path / "heldout.jsonl", 3)
    write_examples(tmp_path / "listings.jsonl", 2)
    planned = plan(read_suite(write(tmp_path, SUITE.replace('name = "demo"', 'name = "demo"\nseeds = [7, 8]'))))
    retrieval = planned.questions[1]
    assert [(q.example.id, q.repeat, q.seed) for q in retrieval] == [
        (str(n), r, r + 7) for r in (0, 1) for n in range(3)
    ]
    assert len({question.key for question in planned.all}) == len(planned.all) == 16


def test_arms_with_a_context_of_their_own_leave_out_and_count_what_names_none(tmp_path: Path) -> None:
    lines = [
        {"id": "a", "query": "q", "answers": ["x"], "gold_documents": ["a.md"]},
        {"id": "b", "query": "q", "answers": ["x"], "context": "It is x."},
        {"id": "c", "query": "q", "answers": ["x"], "context": "It is x."},
        {"id": "d", "query": "q", "answers": ["x"]},
    ]
    (tmp_path / "heldout.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_examples(tmp_path / "listings.jsonl", 2)
    text = SUITE.replace('label = "retrieval"', 'label = "retrieval"\ncontext = "gold"')
    planned = plan(read_suite(write(tmp_path, text)))
    assert [question.example.id for question in planned.questions[1]] == ["a", "b", "c"]
    assert planned.left_out == {"retrieval": 1}
    document, first, second = (question.cluster for question in planned.questions[1])
    assert document == "a.md" and first == second != document
    assert [q.cluster for q in planned.questions[0] if q.example.id == "d"] == ["d"]
    write_examples(tmp_path / "heldout.jsonl", 2)
    with pytest.raises(RefusedArtifact, match="arm 'retrieval' has nothing to be asked"):
        plan(read_suite(write(tmp_path, text)))


@pytest.mark.parametrize(
    ("metrics", "example", "says"),
    [
        ('"recall"', {}, "it names no gold_documents"),
        (
            '"recall", "containment"',
            {"answers": [], "gold_documents": ["a"]},
            "it has no answer; such are for metrics of",
        ),
        ('"choice_accuracy"', {}, "it has no choices"),
        ('"choice_accuracy"', {"choices": ["y", "z"]}, "the first of its answers is none of its choices"),
        ('"field_f1"', {}, "its first answer holds no JSON object"),
        ('"label_accuracy"', {}, "no two different labels"),
        ('"perplexity"', {"slice": "unanswerable"}, "unanswerable examples tell nothing"),
        ('"recall"', {"gold_documents": ["a"]}, "arm 'base'"),
    ],
)
def test_metrics_that_cannot_be_had_of_the_examples_are_told_before_anything_is_asked(
    tmp_path: Path, metrics: str, example: dict[str, object], says: str
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "1", "query": "q", "answers": ["x"]} | example))
    context = 'context = "none"' if "arm" in says else ""
    suite = f"""
        name = "n"
        tasks = [{{name = "t", examples = "a.jsonl", metrics = [{metrics}]}}]
        [[arms]]
        mode = "base"
        {context}
    """
    with pytest.raises(RefusedArtifact) as refused:
        plan(read_suite(write(tmp_path, suite)))
    assert says in refused.value.message


def test_a_gate_on_a_slice_that_there_is_not_is_refused(tmp_path: Path) -> None:
    write_examples(tmp_path / "heldout.jsonl", 2, ("", "hard"))
    write_examples(tmp_path / "listings.jsonl", 2)
    text = SUITE.replace("[[comparisons]]", gate('task = "knowledge"\nslice = "hrad"\nleast = 3'))
    with pytest.raises(RefusedArtifact, match="unknown slice 'hrad'; did you mean 'hard'"):
        plan(read_suite(write(tmp_path, text)))
