"""The page of a report: the same bytes every time, nothing from outside, nothing of an answer becomes markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.html.evidence import marked
from eval.html.labels import Box, placed
from eval.html.page import page, write_page
from eval.html.scale import fitting, linear, logarithmic
from eval.runfile import Run
from tests.sample_run import HOSTILE, sample_run

_VOID = {"meta", "link", "br", "line", "path", "rect", "circle", "polyline", "wbr"}


class Outline(HTMLParser):
    """The tags of a page, whether they are balanced, and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.headings: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in _VOID:
            self.open.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run() -> Run:
    return sample_run()


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return page(run)


def test_the_same_run_gives_the_same_bytes_whatever_order_it_was_answered_in(run: Run, text: str) -> None:
    assert page(Run(run.header, run.items)) == text
    assert page(Run(run.header, list(reversed(run.items)))) == text


def test_the_page_asks_for_nothing_outside_needs_no_script_and_is_small(text: str) -> None:
    outline = Outline(text)
    assert all(reference.startswith("#") or reference == "data:," for reference in outline.references)
    assert "script" not in outline.seen
    assert not re.search(r"@import|url\(", text)
    assert len(text.encode()) < 500_000


def test_the_page_is_well_formed_and_its_headings_skip_no_level(text: str) -> None:
    outline = Outline(text)
    assert outline.open == []
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(outline.headings, outline.headings[1:], strict=False))


def test_every_table_has_a_caption_and_every_drawing_a_text_or_is_hidden_from_readers(text: str) -> None:
    assert text.count("<table") == text.count("<caption>")
    for drawing in re.findall(r"<svg (?!x=)[^>]*>", text):
        assert "aria-hidden" in drawing or "aria-label" in drawing


def test_nothing_of_an_answer_becomes_markup(run: Run) -> None:
    items = [
        other.model_copy(update={"reply": other.reply.model_copy(update={"text": HOSTILE}), "query": HOSTILE})
        if other.reply
        else other
        for other in run.items
    ]
    found = page(Run(run.header, items))
    assert "<script>" not in found and "&lt;script&gt;" in found
    assert "\u202e" not in found and r"\u202e" in found


def test_the_verdict_comes_first_and_every_section_is_there(text: str) -> None:
    places = [text.index(f'<section id="{name}">') for name in SECTIONS]
    assert places == sorted(places)


SECTIONS = ("verdict", "quality", "cost", "differences", "controls", "effort", "evidence", "provenance")


def test_a_run_in_which_nothing_was_answered_has_a_page_that_says_so(run: Run) -> None:
    failed = [item.model_copy(update={"reply": None, "scores": {}, "error": "HTTP 500: no"}) for item in run.items]
    found = page(Run(run.header, failed))
    assert "No verdict" in found and "HTTP 500: no" in found


def test_the_page_replaces_an_earlier_one_as_a_whole(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_page(run, path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_accepted_answers_are_marked_in_a_passage_as_whole_words_and_escaped() -> None:
    assert marked("14 months, not 114 months <b>", ("14 months",)) == "<mark>14 months</mark>, not 114 months &lt;b&gt;"
    assert marked("a < b", ()) == "a &lt; b"


def test_labels_never_cover_each_other_or_a_point() -> None:
    points = [(f"arm number {n}", 100.0 + 4 * (n % 4), 100.0 + 3 * n) for n in range(12)]
    labels = placed(points, Box(0, 0, 900, 440))
    boxes = [label.box for label in labels if label]
    assert len(boxes) == len(points)
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[n + 1 :])
    assert not any(box.overlaps(Box(x - 7, y - 7, x + 7, y + 7)) for box in boxes for _, x, y in points)


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (3.0, 3.0), (-2.0, 7.0), (0.0, 12345.0)])
def test_a_scale_holds_its_values_between_round_ticks(low: float, high: float) -> None:
    scale = linear(low, high)
    assert scale.low <= low and high <= scale.high and len(scale.ticks) >= 2
    assert scale.share(scale.low) == 0 and scale.share(scale.high) == 1


def test_values_of_several_orders_are_drawn_by_their_logarithm() -> None:
    assert fitting([10, 1000]).log and not fitting([10, 100]).log and not fitting([0, 100]).log
    assert logarithmic(3, 700).ticks[0] == 2 and logarithmic(3, 700).ticks[-1] == 1000
