"""Each format: what becomes of a sound file, made here by the format's own libraries or by hand."""

import json
from pathlib import Path

import pytest
from pypdf import PdfWriter

from indexer.documents import Document, Problem
from indexer.reading import SUFFIXES, Reader, read_documents
from tests.formats import docx, pdf


def read_one(tmp_path: Path, name: str, content: str | bytes) -> Document:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    documents, problems = read_documents(tmp_path)
    assert problems == [] and len(documents) == 1
    return documents[0]


def test_markdown_keeps_its_text_and_is_entitled_by_its_first_heading(tmp_path: Path) -> None:
    document = read_one(tmp_path, "a.md", "\n# Press  #\n\nText.\n")
    assert document == Document("a.md", "Press", "\n# Press  #\n\nText.\n", markdown=True)


def test_front_matter_gives_title_and_plain_metadata_and_is_no_text(tmp_path: Path) -> None:
    front = (
        '---\ntitle: "The press"\nproduct: brevik-2 \ntags: [a, b]\nlist:\n  - x\n# comment\ndate: 2024-01-02\n---\n'
    )
    document = read_one(tmp_path, "a.md", front + "# Other\n\nText.")
    assert (document.title, document.text) == ("The press", "# Other\n\nText.")
    assert document.metadata == {"product": "brevik-2", "date": "2024-01-02"}


def test_a_rule_at_the_beginning_is_no_front_matter(tmp_path: Path) -> None:
    text = "---\n\nA sentence, not a key.\n\n---\n\nMore."
    assert read_one(tmp_path, "a.md", text).text == text


def test_text_may_be_utf_16_with_a_mark_and_have_any_line_ends(tmp_path: Path) -> None:
    document = read_one(tmp_path, "a.txt", "Grüße\r\nzwei\rdrei".encode("utf-16"))
    assert (document.title, document.text, document.markdown) == ("a", "Grüße\nzwei\ndrei", False)


def test_html_becomes_the_markdown_of_what_a_reader_sees(tmp_path: Path) -> None:
    page = """<!doctype html><html><head><title>The  press</title><style>p {}</style></head><body>
    <nav><a href="/">Home</a></nav><script>alert(1)</script><h2>Parts</h2><p>An <a href="x">arm</a> &amp; a <b>leg</b>.
    <img src="data:image/png;base64,AAAA" alt="drawing"></p><ul><li>one</li><li>two</li></ul>
    <table><tr><th>part</th><th>price</th></tr><tr><td>arm</td><td>3</td></tr></table>
    <pre><code>x = 1\n  y = 2</code></pre></body></html>"""
    document = read_one(tmp_path, "a.html", page)
    assert (document.title, document.markdown) == ("The press", True)
    for part in ("## Parts\n\n", "An arm & a **leg**.", "drawing", "- one\n- two", "| arm | 3 |", "x = 1\n  y = 2"):
        assert part in document.text
    assert not any(word in document.text for word in ("Home", "alert", "base64", "p {}"))


def test_html_is_decoded_as_it_declares(tmp_path: Path) -> None:
    page = '<html><head><meta charset="windows-1252"></head><body>naïve €</body></html>'.encode("cp1252")
    assert read_one(tmp_path, "a.htm", page).text == "naïve €"


def test_a_word_document_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    document = read_one(tmp_path, "a.docx", docx("<w:p><w:r><w:t>Body text.</w:t></w:r></w:p>", heading="Warranty"))
    assert (document.title, document.text, document.markdown) == ("Warranty", "# Warranty\n\nBody text.", True)


def test_the_pages_of_a_pdf_are_kept_apart(tmp_path: Path) -> None:
    document = read_one(tmp_path, "a.pdf", pdf("First page.", "", "Third page."))
    assert (document.id, document.title, document.text) == ("a.pdf", "a", "First page.\n\nThird page.")


def test_a_pdf_that_anybody_may_open_is_read_though_it_is_encrypted(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(pdf("Free to read."))
    writer = PdfWriter(clone_from=tmp_path / "plain")
    writer.encrypt("", "owner", algorithm="RC4-128")
    (tmp_path / "docs").mkdir()
    writer.write(tmp_path / "docs" / "a.pdf")
    assert read_documents(tmp_path / "docs")[0][0].text == "Free to read."


def test_a_csv_row_is_a_document_and_its_other_columns_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffID,Title,text,price\nx1,Arm,"An arm,\nlong",3\n,,A leg,\n,,,\n', "utf-8")
    documents, problems = read_documents(tmp_path)
    assert documents == [
        Document("x1", "Arm", "An arm,\nlong", metadata={"price": "3"}),
        Document("a.csv#2", "", "A leg"),
    ]
    assert problems == []


def test_a_csv_without_a_text_column_is_all_text(tmp_path: Path) -> None:
    document = read_one(tmp_path, "prices.csv", "part;price\narm;3,50\n")
    assert (document.id, document.text) == ("prices.csv#1", "part: arm\nprice: 3,50")
    assert document.metadata == {"part": "arm", "price": "3,50"}


def test_records_have_ids_titles_and_metadata(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"id": "a", "title": "A", "text": "x", "metadata": {"year": 2024, "draft": False}},
        {"_id": 7, "text": "y", "url": "u", "none": None, "tags": ["p"]},
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    documents, problems = read_documents(tmp_path)
    assert documents == [
        Document("a", "A", "x", metadata={"year": 2024, "draft": False}),
        Document("7", "", "y", metadata={"url": "u"}),
    ]
    assert problems == [
        Problem(source="r.jsonl", reason="read, but for fields that are neither texts nor numbers: 'tags'")
    ]


def test_the_name_says_the_format_wherever_the_file_lies(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(pdf("Uploaded."))
    with Reader() as reader:
        assert reader.read(upload, "deep/a.PDF") == [Document("deep/a.PDF", "a", "Uploaded.")]
        assert isinstance(reader.read(upload, "a.png")[0], Problem)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_refuses_an_empty_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    with Reader() as reader:
        assert reader.read(tmp_path / f"a{suffix}", f"a{suffix}") == [
            Problem(source=f"a{suffix}", reason="the file is empty")
        ]
