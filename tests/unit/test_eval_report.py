"""Suites fail early and clearly; reports are a pure function of the run."""

from pathlib import Path

import pytest

from eval.report import report, telling
from eval.runfile import Header, Item
from eval.show import differences, markdown, summary
from eval.suite import read_suite
from ragtune.errors import RefusedArtifact
from ragtune.wire import Answer, Timings, Usage

SUITE = """
name = "demo"
[[tasks]]
name = "knowledge"
examples = "heldout.jsonl"
metrics = ["containment", "token_f1"]
[[arms]]
mode = "base"
[[arms]]
mode = "rag"
[[comparisons]]
task = "knowledge"
metric = "containment"
arm = "rag"
over = "base"
margin = 20
"""


def write(folder: Path, text: str) -> Path:
    (folder / "suite.toml").write_text(text)
    return folder / "suite.toml"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('mode = "rag"', 'mode = "rag+"'), r"arms\.1\.mode.*empty part"),
        (('mode = "rag"', 'mode = "base"'), "two arms are called 'base'"),
        (('"token_f1"', '"token_f2"'), "unknown metric 'token_f2'"),
        (('over = "base"', 'over = "bass"'), "'bass', which is no arm"),
        (('task = "knowledge"', 'task = "other"'), "no task 'other'"),
        (("margin", "margn"), r"comparisons\.0\.margn"),
        (('name = "demo"', "name = demo"), "not valid TOML"),
    ],
)
def test_a_mistake_in_a_suite_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(RefusedArtifact, match=says):
        read_suite(write(tmp_path, SUITE.replace(*change)))


def item(arm: str, number: int, score: float | None, slice_: str = "") -> Item:
    answer = Answer(
        id="a",
        mode=arm,
        resolved_mode=arm,
        versions={},
        text=f"{arm} says {number}",
        finish_reason="stop",
        usage=Usage(prompt_tokens=10, completion_tokens=2),
        timings=Timings(first_token_ms=5),
    )
    return Item(
        arm=arm,
        task="knowledge",
        example=str(number),
        slice=slice_,
        query=f"question {number}",
        answers=("x",),
        answer=None if score is None else answer,
        error="HTTP 504: too late" if score is None else None,
        alone=number < 8,
        scores={} if score is None else {"containment": score, "token_f1": score / 2},
    )


@pytest.fixture
def header(tmp_path: Path) -> Header:
    return Header(
        suite=read_suite(write(tmp_path, SUITE)),
        url="http://x",
        base="tiny",
        note=None,
        fingerprint="f",
        device="cpu",
        training_seconds={},
        started="today",
        ragtune="0",
    )


def run() -> list[Item]:
    items = [item("base", n, 0.0) for n in range(100)] + [item("rag", n, float(n % 4 > 0)) for n in range(99)]
    return [*items, item("rag", 99, None), item("rag", 200, 0.0, "unanswerable")]


def test_a_failed_item_is_no_zero_and_a_slice_is_apart(header: Header) -> None:
    rag = report(header, run()).arms[1].tasks["knowledge"]
    assert rag.scores["containment"].n == 99 and rag.scores["containment"].mean == pytest.approx(74 / 99)
    assert rag.slices["unanswerable"]["containment"].mean == 0
    assert (rag.failed, rag.answered) == (1, 100)


def test_a_difference_is_taken_on_shared_items_and_judged_by_its_lower_bound(header: Header) -> None:
    (found,) = report(header, run()).differences
    assert found.difference is not None and found.difference.n == 99
    assert found.verdict == "reached"


def test_the_report_is_a_pure_function_of_the_run(header: Header) -> None:
    first, second = (report(header, run()) for _ in range(2))
    assert first == second
    shown = telling(header.suite, run(), 2)
    text = markdown(first, shown)
    assert text == markdown(second, shown)
    assert "75 [66, 83]" in text and "failed 1 times: HTTP 504: too late" in text and "rag says" in text


def test_every_row_has_every_column(header: Header) -> None:
    made = report(header, run())
    for columns, rows in (summary(made), differences(made)):
        assert all(len(row) == len(columns) for row in rows)
