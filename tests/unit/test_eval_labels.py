"""Labels read from texts, and macro-F1 beside scikit-learn's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from eval.metrics import METRICS
from eval.metrics.labels import label_accuracy, label_in, macro_f1_of
from eval.observed import Observed
from eval.runfile import Item
from eval.whole import figure_of
from ragtune.examples import Example

INTENTS = ("card_arrival", "card_arrival_late", "refund")


@pytest.mark.parametrize(
    ("text", "labels", "label"),
    [
        ("refund", INTENTS, "refund"),
        ("Card arrival.", INTENTS, "card_arrival"),
        ("The intent is card-arrival, I think", INTENTS, "card_arrival"),
        ("card_arrival_late", INTENTS, "card_arrival_late"),
        ("This is a card arrival late", INTENTS, "card_arrival_late"),
        ("refund or card arrival", INTENTS, ""),
        ("refund, yes, a refund", INTENTS, "refund"),
        ("refunds", INTENTS, ""),
        ("", INTENTS, ""),
        ("Answer: B", ("A", "B", "C"), "B"),
        ("A", ("A", "B", "C"), "A"),
        ("(a)", ("A", "B", "C"), "A"),
        ("the answer is a B", ("A", "B", "C"), ""),
        ("I like C++", ("C", "C++", "C#"), "C++"),
        ("C#", ("C", "C++", "C#"), "C#"),
        ("-", ("+", "-"), "-"),
        ("it is +", ("+", "-"), "+"),
        ("Über", ("über", "unter"), "über"),
        ("yes", ("Yes", "yes"), "Yes"),
        ("anything", (), ""),
    ],
)
def test_the_label_is_read(text: str, labels: tuple[str, ...], label: str) -> None:
    assert label_in(text, labels) == label


def test_any_accepted_answer_is_the_right_label() -> None:
    example = Example(id="1", query="q", answers=("refund", "card_arrival"))
    assert label_accuracy(Observed(example, "Card arrival", labels=INTENTS)) == 1
    assert label_accuracy(Observed(example, "no idea", labels=INTENTS)) == 0
    assert label_accuracy(Observed(example, "refund")) is None


def test_a_label_that_was_not_read_is_a_miss_and_no_class() -> None:
    assert macro_f1_of(["a", "", "b"], ["a", "a", "b"]) == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1_of([], []) is None
    assert macro_f1_of([""], ["a"]) == 0


def test_macro_f1_of_items_leaves_out_those_without_a_prediction() -> None:
    items = [item("a", "a"), item("b", "B"), item("", "a"), item(None, "a"), item("c", "a", "c")]
    whole = METRICS["macro_f1"].whole
    assert whole is not None
    assert figure_of(items, whole) == macro_f1_of(["a", "b", "", "c"], ["a", "b", "a", "c"])
    assert figure_of([item(None, "a")], whole) is None


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcdef")), min_size=1, max_size=40))
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    predicted, wanted = [one for one, _ in pairs], [other for _, other in pairs]
    expected = f1_score(wanted, predicted, average="macro", zero_division=0)
    assert macro_f1_of(predicted, wanted) == pytest.approx(expected)
    assert macro_f1_of(predicted[::-1], wanted[::-1]) == macro_f1_of(predicted, wanted)
    assert macro_f1_of(wanted, predicted) == pytest.approx(macro_f1_of(predicted, wanted))


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=8).filter(str.strip), max_size=5, unique=True))
def test_what_is_read_is_one_of_the_labels_or_none(text: str, labels: list[str]) -> None:
    assert label_in(text, tuple(labels)) in ("", *labels)


@given(st.sampled_from(INTENTS), st.sampled_from(["{}", "{}.", "Label: {}", "It is {}, surely"]))
def test_a_label_is_read_wherever_it_stands(label: str, around: str) -> None:
    assert label_in(around.format(label), INTENTS) == label


def item(predicted: str | None, *answers: str) -> Item:
    return Item(arm="base", task="t", example="1", query="q", answers=answers, predicted=predicted)
