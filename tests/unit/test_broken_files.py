"""One test for each way in which a file can be bad: a Problem that says what to do, and the other files are read."""

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter

from indexer.documents import Document, Problem
from indexer.reading import SUFFIXES, Reader, find_files, read_documents
from tests.formats import docx, pdf


def problem_of(folder: Path, name: str, content: bytes) -> str:
    """Why `content` cannot be read, where a sound file beside it can."""
    (folder / "sound.txt").write_text("sound")
    (folder / name).write_bytes(content)
    documents, problems = read_documents(folder)
    assert [document.id for document in documents] == ["sound.txt"]
    assert len(problems) == 1 and problems[0].source.startswith(name)
    return problems[0].reason


def encrypted_pdf() -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(pdf("secret")))
    writer.encrypt("user", "owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def lying_docx() -> bytes:
    """Its document unpacks to 80 MB; the archive says 1,000 bytes, in both places."""
    body = docx(f"<w:p><w:r><w:t>{'a' * 80_000_000}</w:t></w:r></w:p>")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        size = archive.getinfo("word/document.xml").file_size
    return body.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))


BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "truncated PDF": ("a.pdf", lambda: pdf("one", "two")[:-200], "is cut off"),
    "PDF damaged inside": ("a.pdf", lambda: b"%PDF-1.4\n" + b"\xff" * 500 + b"\n%%EOF\n", "is damaged"),
    "encrypted PDF": ("a.pdf", encrypted_pdf, "is encrypted: save it without a password"),
    "scanned PDF": ("a.pdf", lambda: pdf("", ""), "holds no text; scanned pages need OCR first"),
    "no PDF": ("a.pdf", lambda: b"<html>404</html>", "is no PDF"),
    "wrong encoding": ("a.txt", lambda: ("Straße für Öl, größer " * 9).encode("latin-1"), r"iconv -f \S+ -t UTF-8"),
    "UTF-16 without a mark": ("a.md", lambda: "text".encode("utf-16-le"), "zero bytes"),
    "wrong encoding declared": ("a.html", lambda: b'<meta charset="ascii"><p>\xe9</p>', "although it says so"),
    "unknown encoding declared": ("a.html", lambda: b'<meta charset="klingon"><p>x</p>', "klingon"),
    "binary named .md": ("a.md", lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), "is it a text file"),
    "empty": ("a.md", lambda: b"", "the file is empty"),
    "blank": ("a.txt", lambda: b" \n\t\n", "holds no text"),
    "too large a text": ("a.txt", lambda: b"a" * ((32 << 20) + 1), "larger than 32 MiB"),
    "zip bomb": (
        "a.docx",
        lambda: docx("", members={f"{i}": bytes(90 << 20) for i in range(6)}),
        "unpack to more than",
    ),
    "zip bomb that lies": ("a.docx", lying_docx, "unpacks to more than 64 MiB"),
    "truncated DOCX": ("a.docx", lambda: docx("<w:p/>")[:-40], "is cut off or damaged"),
    "DOCX of broken XML": ("a.docx", lambda: docx("<w:p>"), "is damaged"),
    "another zip": ("a.docx", lambda: docx("").replace(b"word/document.xml", b"xord/document.xml"), "no Word document"),
    "old or encrypted Word": ("a.docx", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "without a password"),
    "DOCX without text": ("a.docx", lambda: docx("<w:p/>"), "holds no text"),
    "half a surrogate": ("a.jsonl", lambda: b'{"id": "x", "text": "a \\ud800 b"}', "line 1|surrogate"),
    "zero bytes in a record": ("a.jsonl", lambda: b'{"id": "x", "text": "a \\u0000 b"}', "zero bytes"),
    "unprintable id": ("a.jsonl", lambda: b'{"id": "x\\n", "text": "a"}', "printable"),
    "long metadata": ("a.jsonl", lambda: json.dumps({"id": "x", "text": "a", "m": "b" * 1025}).encode(), "1024 are"),
    "much metadata": (
        "a.jsonl",
        lambda: json.dumps({"id": "x", "text": "a"} | {f"{i}": 1 for i in range(33)}).encode(),
        "32 are the",
    ),
    "nested without end": ("a.jsonl", lambda: b"[" * 100_000, "JSON"),
    "a number without end": ("a.jsonl", lambda: b'{"id": "x", "text": "a", "n": ' + b"9" * 5000 + b"}", "n|number"),
    "records in UTF-16": ("a.jsonl", lambda: '{"id": "x", "text": "a"}'.encode("utf-16"), "must be UTF-8"),
    "CSV without a header": ("a.csv", lambda: b"1,,3\n4,5,6\n", "must name every column"),
    "CSV with only a header": ("a.csv", lambda: b"id,text\n", "no rows"),
    "CSV with an open quote": ("a.csv", lambda: b'text,x\n"open,1\nb,2\n', "not CSV"),
    "CSV with a short row": ("a.csv", lambda: b"text,x\none\n", "1 cells, the header names 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_a_problem_that_says_what_is_wrong_and_the_others_are_read(tmp_path: Path, case: str) -> None:
    name, content, reason = BAD[case]
    assert re.search(reason, problem_of(tmp_path, name, content()))


def test_a_line_of_200_mb_is_refused_without_being_held_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "big", "text": "')
        file.seek(200_000_000, os.SEEK_CUR)  # a hole in the file reads as zeros
        file.write(b'"}\n{"id": "next", "text": "sound"}\n')
    with Reader() as reader:
        problem, document = reader.read(path, "long.jsonl")
    assert isinstance(problem, Problem) and problem.source == "long.jsonl, line 1"
    assert "longer than 4 MiB" in problem.reason
    assert document == Document("next", "", "sound")


def test_a_file_with_many_broken_records_lists_some_and_counts_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("not json\n" * 500 + '{"id": "x", "text": "a"}\n')
    documents, problems = read_documents(tmp_path)
    assert len(documents) == 1 and len(problems) == 51
    assert problems[-1].reason.endswith("not listed: 450")


def test_of_two_documents_with_one_id_the_first_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "same", "text": "one"}\n{"id": "same", "text": "two"}\n')
    (tmp_path / "same").write_text("")
    documents, problems = read_documents(tmp_path)
    assert [document.text for document in documents] == ["one"]
    assert problems[0] == Problem(source="same", reason="a second document with this id; the first is kept")


def test_links_that_lead_out_or_nowhere_and_what_is_no_file_are_problems(tmp_path: Path) -> None:
    docs, outside = tmp_path / "docs", tmp_path / "outside"
    for folder in (docs, docs / "inside", outside):
        folder.mkdir()
    (outside / "secret.txt").write_text("a secret")
    (docs / "inside" / "a.txt").write_text("public")
    (docs / "file.txt").symlink_to(outside / "secret.txt")
    (docs / "folder").symlink_to(outside)
    (docs / "loop.txt").symlink_to(docs / "loop.txt")
    (docs / "good.txt").symlink_to(docs / "inside" / "a.txt")
    (docs / "twice").symlink_to(docs / "inside")
    os.mkfifo(docs / "pipe.txt")
    documents, problems = read_documents(docs)
    assert [document.id for document in documents] == ["good.txt", "inside/a.txt"]
    assert {problem.source: problem.reason.partition(";")[0] for problem in problems} == {
        "file.txt": "a link that leads out of the folder",
        "folder": "a link that leads out of the folder",
        "loop.txt": "a link that leads nowhere",
        "pipe.txt": "not an ordinary file",
        "twice": "a link to a folder",
    }


@pytest.mark.parametrize("name", ["../a.txt", "/etc/passwd.txt", "a/../../b.txt", "a\n.txt", "\udcff.txt", ""])
def test_a_name_that_is_no_path_below_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "upload").write_text("text")
    with Reader() as reader:
        problem = reader.read(tmp_path / "upload", name)[0]
    assert isinstance(problem, Problem) and problem.source.isprintable()


def test_what_is_left_out_of_a_folder_is_counted_and_not_listed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / ".git").mkdir()
    for i in range(300):
        (tmp_path / f"{i}.png").touch()
        (tmp_path / f"{i}.k{i % 30}").touch()
    found = list(find_files(tmp_path))
    assert found[0] == ("a.txt", tmp_path / "a.txt")
    problems = [item for item in found if isinstance(item, Problem)]
    assert len(problems) == len(found) - 1 == 22
    assert problems[0] == Problem(source=".*", reason="hidden; left out: 1")
    assert problems[1] == Problem(source="*.png", reason="not a format that is read; files left out: 300")
    assert problems[-1].reason == "not formats that are read, 11 more; files left out: 110"


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(tmp_path: Path) -> None:
    (tmp_path / "slow.html").write_text("<p>" * 30_000)
    (tmp_path / "sound.html").write_text("<p>sound</p>")
    with Reader(seconds=3) as reader:
        reader.read(tmp_path / "sound.html", "sound.html")  # its parsers are loaded now
        problem = reader.read(tmp_path / "slow.html", "slow.html")[0]
        assert isinstance(problem, Problem)
        assert re.search("longer than 3 seconds|nested", problem.reason)
        assert isinstance(reader.read(tmp_path / "sound.html", "sound.html")[0], Document)


def test_a_file_that_needs_too_much_memory_is_given_up_and_the_next_is_read(tmp_path: Path) -> None:
    (tmp_path / "large.docx").write_bytes(docx("<w:p><w:r><w:t>a</w:t></w:r></w:p>" * 100_000))
    (tmp_path / "sound.docx").write_bytes(docx("<w:p><w:r><w:t>sound</w:t></w:r></w:p>"))
    with Reader(memory=200 << 20) as reader:
        problem = reader.read(tmp_path / "large.docx", "large.docx")[0]
        assert isinstance(problem, Problem) and "memory" in problem.reason
        assert isinstance(reader.read(tmp_path / "sound.docx", "sound.docx")[0], Document)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as reader:
        yield reader


STARTS = (
    b"",
    b"%PDF-1.4\n",
    b"PK\x03\x04",
    b"\xff\xfe",
    b"---\n",
    b'{"id": "a", "text": "',
    b"id,text\n",
    b"<table><p>",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SUFFIXES), st.sampled_from(STARTS), st.binary(max_size=400), st.sampled_from((b"", b"\n%%EOF")))
def test_no_bytes_whatsoever_raise_or_hang(
    tmp_path: Path, reader: Reader, suffix: str, start: bytes, content: bytes, end: bytes
) -> None:
    (tmp_path / "fuzz").write_bytes(start + content + end)
    for item in reader.read(tmp_path / "fuzz", f"fuzz{suffix}"):
        (item.text if isinstance(item, Document) else item.reason).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from((".pdf", ".docx")), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8))
def test_no_damage_to_a_sound_file_raises_or_hangs(
    tmp_path: Path, reader: Reader, suffix: str, damage: list[tuple[int, int]]
) -> None:
    content = bytearray(pdf("one", "two") if suffix == ".pdf" else docx("<w:p><w:r><w:t>x</w:t></w:r></w:p>", "H"))
    for at, byte in damage:
        content[at % len(content)] = byte
    (tmp_path / "fuzz").write_bytes(content)
    assert reader.read(tmp_path / "fuzz", f"fuzz{suffix}")
