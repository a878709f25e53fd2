"""Splitting keeps exact spans, headings and limits."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from indexer.documents import Document
from indexer.split import split

MANUAL = """# Brevik 2

A small press.

## Warranty

The Brevik 2 has a warranty of 26 months.

```
# not a heading
```

## Parts

### Feed

""" + " ".join(f"Part {i} is made of resin." for i in range(40))


def words(text: str) -> int:
    return len(text.split())


def test_a_short_section_is_one_passage_with_its_heading_path() -> None:
    pieces = split(Document("a.md", "Brevik 2", MANUAL, markdown=True), words, 60)
    assert [(p.heading, p.text[:14]) for p in pieces[:2]] == [
        (("Brevik 2",), "A small press."),
        (("Brevik 2", "Warranty"), "The Brevik 2 h"),
    ]
    assert "# not a heading" in pieces[1].text


def test_a_long_section_is_cut_at_sentences_and_keeps_its_heading() -> None:
    pieces = split(Document("a.md", "", MANUAL, markdown=True), words, 60)[2:]
    assert len(pieces) > 3
    assert all(p.heading == ("Brevik 2", "Parts", "Feed") for p in pieces)
    assert all(p.text.endswith("resin.") for p in pieces)


def test_ids_are_stable_and_differ_for_equal_texts_of_one_document() -> None:
    document = Document("a.txt", "", " ".join(["same"] * 40))
    first, second = split(document, words, 20), split(document, words, 20)
    assert [p.id for p in first] == [p.id for p in second]
    assert len({p.id for p in first}) == 2


@given(st.text(alphabet="ab #.\n\t", max_size=300), st.integers(1, 30), st.booleans())
def test_spans_are_exact_ordered_and_lose_nothing_but_white_space(text: str, limit: int, markdown: bool) -> None:
    pieces = split(Document("x", "", text, markdown=markdown), words, limit)
    assert all(text[p.start : p.end] == p.text and p.text.strip() == p.text for p in pieces)
    assert all(a.end <= b.start for a, b in pairwise(pieces))
    assert all(words(p.text) <= max(limit, 16) for p in pieces)
    if not markdown:
        assert "".join(word for p in pieces for word in p.text.split()) == "".join(text.split())
