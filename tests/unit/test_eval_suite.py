"""Suites: read as written, and refused with the place of the mistake."""

import json
from pathlib import Path

import pytest

from eval.run import plan
from eval.suite import Task, read_suite
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
metrics = ["field_f1"]
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
    task = read_suite(write(tmp_path, SUITE)).tasks[1]
    assert [example.id for example in task.read()] == ["0", "1", "unanswerable0", "unanswerable1"]


def test_an_arm_is_asked_its_tasks_in_turn(tmp_path: Path) -> None:
    write_examples(tmp_path / "heldout.jsonl", 3, ("", "unanswerable"))
    write_examples(tmp_path / "listings.jsonl", 2)
    both, one = plan(read_suite(write(tmp_path, SUITE)))
    assert [question.task.name[0] for question in both] == list("kekekkkk")
    assert len(one) == 6
    assert {question.refusals for question in one} == {("none unanswerable",)}
    assert both[1].refusals == ()


def test_an_arm_may_be_asked_only_the_first_of_each_slice_of_a_task(tmp_path: Path) -> None:
    write_examples(tmp_path / "heldout.jsonl", 3, ("", "unanswerable"))
    write_examples(tmp_path / "listings.jsonl", 2)
    limited = SUITE.replace('tasks = ["knowledge"]', "limits = { knowledge = 1 }")
    whole, part = plan(read_suite(write(tmp_path, limited)))
    assert [q.example.id for q in part if q.task.name == "knowledge"] == ["0", "unanswerable0"]
    assert [q.example.id for q in whole if q.task.name == "extraction"] == [
        q.example.id for q in part if q.task.name == "extraction"
    ]


def test_examples_that_are_missing_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(RefusedArtifact, match=r"heldout\.jsonl"):
        plan(read_suite(write(tmp_path, SUITE)))


def test_examples_with_a_history_are_refused_as_it_would_not_be_sent(tmp_path: Path) -> None:
    turns = '[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]'
    (tmp_path / "a.jsonl").write_text(f'{{"id": "1", "query": "And?", "answers": ["x"], "history": {turns}}}\n')
    task = Task(name="a", examples=tmp_path / "a.jsonl", metrics=("containment",))
    with pytest.raises(RefusedArtifact, match="example '1' has a history; only single questions are asked"):
        task.read()
