"""Leaks: held-out examples that stand in what was trained on, and those that only look like it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.leaks import NEAR, find_leaks, refuse
from eval.wording import words
from ragtune.errors import RefusedArtifact
from ragtune.examples import UNANSWERABLE, Example
from ragtune.prompt import Message

FILE = Path("train.jsonl")
LONG = "The warranty of the large kettle lasts for twenty six months after the day of purchase."


def example(query: str, answer: str = "x", **more: object) -> Example:
    return Example.model_validate({"id": query[:20], "query": query, "answers": (answer,), **more})


def how(heldout: Example, *trained: Example) -> str | None:
    leaks = find_leaks({"t": [heldout]}, {FILE: trained})
    return leaks[0].how if leaks else None


@pytest.mark.parametrize(
    ("heldout", "trained", "says"),
    [
        (example("How long is  IT?"), example("how long is it?", "y"), "asks what is trained on as"),
        (example("a b c d e f g h i j"), example("a b c d e f g h i"), "asks nearly what is trained on as"),
        (example("a b c d e f g h i j"), example("a b c d e f g h i", "y"), None),
        (example("a b c d e f g h i j"), example("a b c d e f g"), None),
        (example("How long?", LONG), example("What of it?", f"Well: {LONG.lower()} So."), "has the answer of"),
        (example("How long?", "twenty six"), example("What of it?", "twenty six"), None),
        (example("How long?", LONG, slice=UNANSWERABLE), example("What of it?", LONG), None),
        (example("Which colour?", context="A red one."), example("Which colour?", context="A blue one."), None),
        (example("Which colour?", context="A red one."), example("Which colour?"), "asks nearly what is trained on as"),
        (example("Which colour?"), example("Which colour?", context="Red."), "asks nearly what is trained on as"),
        (example("Which colour?"), example("Which colour?", "y", context="Red."), None),
        (example("And?", history=(Message(role="user", content="a"),)), example("And?"), None),
    ],
)
def test_what_is_a_leak(heldout: Example, trained: Example, says: str | None) -> None:
    assert how(heldout, example("Something else entirely?", "z"), trained) == says


def test_leaks_are_refused_with_up_to_five_pairs() -> None:
    examples = [example(f"Question number {n}?") for n in range(7)]
    leaks = find_leaks({"knowledge": examples}, {FILE: examples})
    with pytest.raises(RefusedArtifact) as refused:
        refuse(leaks)
    message = refused.value.message
    assert message.startswith("7 held-out examples stand in what was trained on")
    assert message.count("asks what is trained on as") == 5 and "and 2 more" in message
    assert "knowledge 'Question number 0?'" in message and "train.jsonl" in message and "--allow-leaks" in message
    refuse([])


WORDS = st.sets(st.sampled_from([f"w{n}" for n in range(14)]), min_size=1).map(lambda found: " ".join(sorted(found)))


@settings(deadline=None)
@given(st.lists(WORDS, max_size=8), WORDS)
def test_near_duplicates_are_those_that_comparing_all_with_all_finds(trained: list[str], heldout: str) -> None:
    asked = words(heldout)
    near = [len(asked & words(one)) >= NEAR * len(asked | words(one)) for one in trained]
    assert (how(example(heldout), *map(example, trained)) is not None) == any(near)
