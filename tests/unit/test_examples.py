"""Example files: what reads, and that every bad line is named by its number."""

from pathlib import Path

import pytest

from ragtune.errors import RefusedArtifact
from ragtune.examples import Example, read_examples

GOOD = '{"id": "k-1", "task": "knowledge", "query": "How long?", "answers": ["2 h"], "gold_documents": ["a.md"]}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "examples.jsonl"


def test_examples_read_in_order_and_blank_lines_do_not_count(file: Path) -> None:
    file.write_text(GOOD + '\n\n{"id": "k-2", "query": "Why?", "answers": ["a", "b"], "slice": "unanswerable"}\n')
    assert read_examples(file) == [
        Example(id="k-1", task="knowledge", query="How long?", answers=("2 h",), gold_documents=("a.md",)),
        Example(id="k-2", query="Why?", answers=("a", "b"), slice="unanswerable"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line: Invalid JSON"),
        ("[]", "line: "),
        ('{"id": "x", "answers": ["a"]}', "query: Field required"),
        ('{"id": "x", "query": "", "answers": ["a"]}', "query: "),
        ('{"id": "x", "query": "q", "answers": []}', "answers: "),
        ('{"id": "x", "query": "q", "answers": ["a"], "awnsers": []}', "awnsers: "),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_field(file: Path, line: str, reason: str) -> None:
    file.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(RefusedArtifact) as caught:
        read_examples(file)
    assert f"{file}, line 2: {reason}" in caught.value.message


def test_an_id_may_occur_once(file: Path) -> None:
    file.write_text(f"{GOOD}\n{GOOD}\n")
    with pytest.raises(RefusedArtifact, match="records 1 and 2 share the id 'k-1'"):
        read_examples(file)


def test_a_file_that_is_missing_empty_or_no_text_is_refused(file: Path) -> None:
    with pytest.raises(RefusedArtifact, match="cannot read examples"):
        read_examples(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RefusedArtifact, match="cannot read examples"):
        read_examples(file)
    file.write_text("\n")
    with pytest.raises(RefusedArtifact, match="holds no examples"):
        read_examples(file)
