"""What a text says against the passages it was given: groundedness, citations, and having no answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.abstention import coverage, wrong_when_answered
from eval.metrics.citations import citation_precision, citation_recall
from eval.metrics.grounding import groundedness
from eval.observed import Observed
from eval.runfile import Item, Shown
from ragtune.examples import UNANSWERABLE, Example

HOUSING = "The Ulwick 7 is cast from dorane by Brevik. Its casing lasts 1,200 hours."


def observed(text: str, *passages: str, gold: tuple[str, ...] = (), query: str = "What is it made of?") -> Observed:
    """Passages `1.md`, `2.md` ... as numbered in the prompt."""
    shown = [Shown(id=f"p{n}", document=f"{n}.md", text=one, number=n) for n, one in enumerate(passages, start=1)]
    return Observed(Example(id="1", query=query, answers=("dorane",), gold_documents=gold), text, passages=tuple(shown))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("It is cast from dorane.", 1),
        ("It is cast from steel.", 1 / 2),
        ("dorane [1]", 1),
        ("casting", 1),  # another ending
        ("The firm is called Breviks", 0),  # a name must be whole: firm, called, Breviks
        ("by Brevik", 1),
        ("by BREVIK", 1),
        ("It lasts 1200 hours", 1),
        ("It lasts 120 hours", 2 / 3),
        ("The Ulwick 8", 1 / 2),
        ("I do not know", None),
        ("Yes.", None),
        ("", None),
        ("What is it made of? dorane", 1),  # the question's words do not count
    ],
)
def test_groundedness_by_eye(text: str, share: float | None) -> None:
    assert groundedness(observed(text, HOUSING)) == (None if share is None else pytest.approx(share))


def test_nothing_is_grounded_or_cited_without_passages() -> None:
    seen = observed("It is dorane [1]", gold=("1.md",))
    assert groundedness(seen) is citation_precision(seen) is citation_recall(seen) is None


@given(st.text(max_size=80), st.lists(st.text(max_size=80), min_size=1, max_size=3))
def test_groundedness_is_a_share_that_more_passages_never_lower(text: str, passages: list[str]) -> None:
    less, more = groundedness(observed(text, *passages)), groundedness(observed(text, *passages, "dorane"))
    assert (less is None) == (more is None)
    assert less is None or more is None or 0 <= less <= more <= 1


@given(st.lists(st.sampled_from(["pump", "26", "Brevik", "casts", "of", "the", "."]), min_size=1).map(" ".join))
def test_a_quotation_is_wholly_grounded(text: str) -> None:
    assert groundedness(observed(text, text)) in (1, None)


@pytest.mark.parametrize(
    ("text", "gold", "precision", "recall"),
    [
        ("dorane [1]", ("1.md",), 1, 1),
        ("dorane [1][2]", ("1.md",), 0.5, 1),
        ("dorane [2]", ("1.md",), 0, 0),
        ("dorane", ("1.md",), None, 0),
        ("dorane [1]", ("1.md", "2.md"), 1, 0.5),
        ("dorane [1]", ("1.md", "9.md"), 1, 1),  # 9.md was not there to be cited
        ("dorane [1]", ("9.md",), 0, None),
        ("dorane [1] [7]", ("1.md",), 0.5, 1),  # there is no passage 7
        ("dorane [1]", (), 1, None),  # no gold named: the passage has the answer
        ("dorane [2]", (), 0, None),
    ],
)
def test_citations_by_eye(text: str, gold: tuple[str, ...], precision: float | None, recall: float | None) -> None:
    seen = observed(text, HOUSING, "Something else.", gold=gold)
    assert (citation_precision(seen), citation_recall(seen)) == (precision, recall)


def test_abstaining_costs_coverage_and_saves_wrong_answers() -> None:
    items = [
        item(abstention=0, token_f1=1),
        item(abstention=0, token_f1=0.5),
        item(abstention=1, token_f1=0),
        item(UNANSWERABLE, abstention=1),
        item(UNANSWERABLE, abstention=0),
        item(),  # failed
    ]
    assert coverage(items) == pytest.approx(3 / 5)
    assert wrong_when_answered(items, "token_f1") == pytest.approx((0 + 0.5 + 1) / 3)
    assert coverage([]) is None and coverage([item(token_f1=1)]) is None
    assert wrong_when_answered([item(abstention=1, token_f1=0)], "token_f1") is None


def item(part: str = "", **scores: float) -> Item:
    return Item(arm="base", task="t", example="1", query="q", answers=("a",), slice=part, scores=scores)
