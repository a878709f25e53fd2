"""Reading documents: every broken file is reported, none stops the rest."""

import json
from pathlib import Path

import pytest

from indexer.documents import read_documents
from ragtune.errors import RefusedArtifact


def test_markdown_text_and_records_are_read_and_broken_ones_reported(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.md").write_text("# Title\n\nText.")
    (tmp_path / "b.txt").write_text("plain")
    (tmp_path / "c.jsonl").write_text('{"id": "r1", "title": "T", "text": "x"}\n{"id": "r2"}\nnot json\n')
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "binary.md").write_bytes(b"\0\1\2")
    (tmp_path / "empty.md").write_text("  \n")
    (tmp_path / "ignored.png").write_bytes(b"x")
    documents, problems = read_documents(tmp_path)
    assert [(d.id, d.title) for d in documents] == [("b.txt", "b"), ("r1", "T"), ("deep/a.md", "Title")]
    assert {p.source for p in problems} == {"c.jsonl, line 2", "c.jsonl, line 3", "latin.txt", "binary.md", "empty.md"}


def test_a_second_document_with_an_id_is_reported_and_the_first_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "same", "text": "one"}\n{"id": "same", "text": "two"}\n')
    documents, problems = read_documents(tmp_path)
    assert [d.text for d in documents] == ["one"]
    assert problems[0].source == "same"


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_is_refused_with_what_it_needs(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "docs"
    if make:
        folder.mkdir()
    with pytest.raises(RefusedArtifact, match=r"no folder|no document"):
        read_documents(folder)


def test_no_record_however_strange_ends_the_reading(tmp_path: Path) -> None:
    good = json.dumps({"id": "good", "text": "one\u2028line"}, ensure_ascii=False)
    lines = [good, '{"id": "n", "text": ' + "9" * 5000 + "}", "[" * 100_000, '{"id": "b"}']
    (tmp_path / "records.jsonl").write_text("\n".join(lines), encoding="utf-8")
    documents, problems = read_documents(tmp_path)
    assert [document.id for document in documents] == ["good"]
    assert [problem.source for problem in problems] == [f"records.jsonl, line {n}" for n in (2, 3, 4)]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("public")
    (docs / "link.txt").symlink_to(tmp_path / "secret.txt")
    documents, problems = read_documents(docs)
    assert [document.text for document in documents] == ["public"]
    assert "leads out of the folder" in problems[0].reason
