"""Reading a folder: what must be there, and what importing the reader may cost."""

import subprocess
import sys
from pathlib import Path

import pytest

from indexer.reading import read_documents
from ragtune.errors import RefusedArtifact


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_is_refused_with_what_it_needs(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "docs"
    if make:
        folder.mkdir()
    with pytest.raises(RefusedArtifact, match=r"no folder|no document"):
        read_documents(folder)


def test_documents_come_in_order_of_name_from_all_folders(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/b.csv", "c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"id": "r", "text": "x"}' if name == "c.jsonl" else "text\nx")
    assert [document.id for document in read_documents(tmp_path)[0]] == ["a/b.csv#1", "a/z.md", "b.txt", "r"]


def test_one_file_alone_has_its_name_as_its_id(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert [document.id for document in read_documents(tmp_path / "a.txt")[0]] == ["a.txt"]


def test_importing_the_reader_brings_no_parser_and_no_torch() -> None:
    heavy = {"torch", "numpy", "transformers", "pypdf", "mammoth", "bs4", "markdownify", "charset_normalizer"}
    code = f"import sys, indexer.reading; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
