"""Splitting keeps exact spans, structure, headings and limits."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.documents import Document
from indexer.split import Piece, split
from indexer.tokens import Offsets

MANUAL = """# Brevik 2

A small press.

## Warranty

The Brevik 2 has a warranty of 26 months.

```
# not a heading
```

Parts
-----

### Feed

""" + " ".join(f"Part {i} is made of resin." for i in range(40))


def words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", text)]


def pairs(text: str) -> list[tuple[int, int]]:
    """Two characters a token, from the beginning: where a span starts changes how many it has."""
    return [(at, min(at + 2, len(text))) for at in range(0, len(text), 2)]


def markdown(text: str, limit: int, title: str = "") -> list[Piece]:
    return split(Document("a.md", title, text, markdown=True), words, limit)


def texts(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces]


def test_a_short_section_is_one_passage_with_its_heading_path() -> None:
    pieces = markdown(MANUAL, 60)
    assert [(p.heading, p.text[:14]) for p in pieces[:2]] == [
        (("Brevik 2",), "A small press."),
        (("Brevik 2", "Warranty"), "The Brevik 2 h"),
    ]
    assert "# not a heading" in pieces[1].text


def test_a_paragraph_that_is_cut_is_cut_between_sentences_which_overlap() -> None:
    pieces = markdown(MANUAL, 60)[2:]
    assert len(pieces) > 3
    assert all(p.heading == ("Brevik 2", "Parts", "Feed") for p in pieces)
    assert all(p.text.startswith("Part ") and p.text.endswith("resin.") for p in pieces)
    assert all(b.start < a.end and MANUAL[b.start : a.end].count("resin.") == 2 for a, b in pairwise(pieces))


def test_whole_blocks_are_kept_whole_and_do_not_overlap() -> None:
    code = "```\n" + "x = 1\n\n" * 8 + "```"
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 3
    text = f"One two three four five six seven.\n\n{code}\n\n{table}"
    assert texts(markdown(text, 30)) == ["One two three four five six seven.", code, table.strip()]


def test_tables_and_code_that_are_too_long_are_cut_between_lines() -> None:
    rows = "\n".join(f"| {i} | x |" for i in range(20))
    pieces = markdown(f"| a | b |\n|---|---|\n{rows}", 20)
    assert all(p.text.startswith("|") and p.text.endswith("|") for p in pieces)
    assert all(a.end < b.start for a, b in pairwise(pieces))


def test_lists_are_cut_between_their_items() -> None:
    items = "\n".join(f"- item {i} is here.\n  It goes on." for i in range(10))
    assert all(text.startswith("- item") for text in texts(markdown(items, 20)))


def test_a_line_before_a_long_paragraph_is_not_left_alone() -> None:
    pieces = markdown("For example:\n\n" + "One two three four. " * 20, 20)
    assert pieces[0].text.startswith("For example:\n\nOne two")


def test_pieces_of_one_section_can_be_joined_exactly() -> None:
    pieces = markdown(MANUAL.replace("resin. Part 9", "resin.\n\n\nPart 9"), 60)
    text = MANUAL.replace("resin. Part 9", "resin.\n\n\nPart 9")
    assert [p.joins for p in pieces] == [False, False, False] + [True] * (len(pieces) - 3)
    for a, b in pairwise(pieces):
        if b.joins:
            assert text[a.start : b.end] == (a.text + b.gap + b.text[max(0, a.end - b.start) :])
    assert "\n\n\n" in {p.gap for p in pieces}


def test_the_title_stands_in_for_a_missing_first_heading() -> None:
    assert [p.heading for p in markdown("a\n\n## B\n\nb\n\n# C\n\nc", 60, "T")] == [("T",), ("T", "B"), ("C",)]


def test_a_long_heading_path_is_shortened_from_outside() -> None:
    text = "# " + "one " * 8 + "\n\n## two three\n\nText.\n\n# " + "four " * 30 + "\n\nText."
    assert [p.heading for p in markdown(text, 20)] == [("two three",), (" ".join(["four"] * 10),)]


def test_a_document_of_headings_alone_is_still_found() -> None:
    assert texts(markdown("# One\n\n## Two\n", 60)) == ["# One\n\n## Two"]


def test_rules_and_definitions_of_links_do_no_harm() -> None:
    text = "# A\n\n---\n\nSee [x].\n\n[x]: http://x.example\n\n---\n\n# B\n\n---\n"
    assert texts(markdown(text, 60)) == ["See [x].\n\n[x]: http://x.example"]


def test_text_without_spaces_is_cut_where_it_must_be() -> None:
    assert texts(split(Document("a", "", "ab" * 50), pairs, 10)) == ["ab" * 10] * 5
    assert texts(split(Document("a", "", "一二三。四五六。" * 2), pairs, 4)) == ["一二三。四五六。"] * 2


def test_ids_are_stable_and_differ_for_equal_texts_of_one_document() -> None:
    document = Document("a.txt", "", "\n\n".join([" ".join(["same"] * 15)] * 2))
    first, second = split(document, words, 20), split(document, words, 20)
    assert [p.id for p in first] == [p.id for p in second]
    assert len({p.id for p in first}) == 2


LINES = (
    "# h",
    "## a b",
    "h\n===",
    "- item",
    "  - inner one. Two.",
    "> quote",
    "```",
    "| a | b |",
    "|---|---|",
    "a. B! c?",
)
TEXTS = st.one_of(
    st.text(alphabet="ab #.\n\t-|>`", max_size=300),
    st.lists(
        st.sampled_from((*LINES, "", "", "word " * 9, "[x]: /y", "    code", "---", "\x0b \u2028")), max_size=40
    ).map("\n".join),
)


HEADING_OR_RULE = re.compile(r" {0,3}#{1,6}([ \t].*)?|[ \t=*_-]+")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")


@pytest.mark.parametrize("offsets", [words, pairs])
@given(TEXTS, st.integers(4, 30), st.booleans(), st.integers(0, 40))
def test_spans_are_exact_ordered_within_the_limit_and_lose_no_text(
    offsets: Offsets, text: str, limit: int, structured: bool, overlap: int
) -> None:
    pieces = split(Document("x", "", text, markdown=structured), offsets, limit, overlap)
    assert all(text[p.start : p.end] == p.text and p.text.strip() == p.text != "" for p in pieces)
    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(pieces))
    assert all(len(offsets(p.embedded_text)) <= limit for p in pieces)
    assert all(not b.joins or b.start < a.end or text[a.end : b.start] == b.gap for a, b in pairwise(pieces))
    assert all(not b.gap.strip() for b in pieces)
    for run in uncovered(text, pieces):
        for i, line in enumerate(run):
            assert structured and (
                not line.strip() or HEADING_OR_RULE.fullmatch(line) or any(map(UNDERLINE.fullmatch, run[i + 1 :]))
            )


def uncovered(text: str, pieces: list[Piece]) -> list[list[str]]:
    """Runs of lines that have text of which no piece has anything."""
    runs: list[list[str]] = [[]]
    at = 0
    for line in text.split("\n"):
        held = any(p.start < at + len(line) and at < p.end for p in pieces)
        whole = all(c.isspace() or any(p.start <= at + i < p.end for p in pieces) for i, c in enumerate(line))
        assert whole or not held
        if held or not line.strip(" \t"):
            runs.append([])
        elif not whole or runs[-1]:
            runs[-1].append(line)
        at += len(line) + 1
    return runs
