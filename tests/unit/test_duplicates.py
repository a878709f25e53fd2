"""Examples that stand in the data twice: found, counted and shown."""

import pytest

from adapters.duplicates import find_duplicates
from ragtune.examples import Example
from ragtune.prompt import Message


def example(query: str, *answers: str, id: str = "", **fields: object) -> Example:  # noqa: A002
    return Example.model_validate({"id": id or query, "query": query, "answers": answers or ("x",), **fields})


LONG = "How do I find out where my new card is at the moment?"
NEARLY = "How do I find out where my new card is at this moment?"


def counts(train: list[Example], validation: list[Example]) -> tuple[int, int, int]:
    """exact, near and contradicting ones of the validation set."""
    found = find_duplicates({"train": train, "validation": validation}).counts
    kinds = ("exact", "near", "contradicting")
    exact, near, contradicting = (found[f"train-validation {kind}"] for kind in kinds)
    return exact, near, contradicting


def test_the_same_question_is_exact_whatever_its_case_and_white_space_if_an_answer_agrees() -> None:
    train = [example("Where is  it?", "here", "There")]
    assert counts(train, [example("where is it?", "there", "nowhere"), example("Where?", "here")]) == (1, 0, 0)
    assert counts(train, [example("where is it?", "nowhere")]) == (0, 0, 1)
    assert counts([example("1 - 1")], [example("1 + 1")]) == (0, 0, 0)


def test_a_question_worded_a_little_differently_is_near_if_an_answer_agrees() -> None:
    assert counts([example(LONG)], [example(NEARLY)]) == (0, 1, 0)
    assert counts([example(LONG)], [example(NEARLY, "y")]) == (0, 0, 0)
    assert counts([example(LONG)], [example("Where is my card?")]) == (0, 0, 0)


def test_history_and_context_belong_to_the_question() -> None:
    said = [Message(role="user", content="Hello"), Message(role="assistant", content="Hi.")]
    assert counts([example("And now?", history=said)], [example("And now?")]) == (0, 0, 0)
    assert counts([example("And now?", history=said)], [example("And now?", history=said)]) == (1, 0, 0)
    assert counts([example(LONG, context="A.")], [example(LONG, context="B."), example(NEARLY)]) == (0, 0, 0)
    assert counts([example(LONG, context="A.")], [example(NEARLY, context="a.")]) == (0, 1, 0)


def test_every_two_sets_are_compared_and_of_one_set_only_what_is_trained_on() -> None:
    train = [example("a", id="1"), example("A", id="2"), example("a ", "y", id="3"), example("a", id="4")]
    found = find_duplicates({"train": train, "validation": [], "held-out": [example("b"), example("b", id="c")]})
    assert found.counts == {
        "train exact": 2,
        "train near": 0,
        "train contradicting": 1,
        "train-held-out exact": 0,
        "train-held-out near": 0,
        "train-held-out contradicting": 0,
    }
    assert not any(overlap.leaks for overlap in found.overlaps)


def test_what_validation_and_held_out_files_share_is_counted_and_no_leak_of_what_is_trained_on() -> None:
    found = find_duplicates({"train": [example("a")], "validation": [example("b")], "held-out": [example("B")]})
    assert found.counts["validation-held-out exact"] == 1
    assert not any(overlap.leaks for overlap in found.overlaps)


def test_a_leak_is_told_loudly_with_pairs_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    train = [example(LONG, "track it"), example("Hello " * 40)]
    leaking = {"validation": [example(NEARLY, "track it")], "held-out": [example("hello " * 40), example("Else")]}
    find_duplicates({"train": train, **leaking}).show()
    out, err = capsys.readouterr()
    assert out == ""
    assert "among 2 train examples: 0 exact and 0 near duplicates\n" in err
    assert "LEAK: of 1 validation examples, in train: 0 exact and 1 near duplicates; figures on validation are" in err
    assert "LEAK: of 2 held-out examples, in train: 1 exact and 0 near duplicates" in err
    assert "of 2 held-out examples, in validation: 0 exact and 0 near duplicates\n" in err
    assert f"near │ {LONG} │ {NEARLY} │ track it" in " ".join(err.split())
    assert "Hello Hello" in err and "Hello " * 20 not in err
