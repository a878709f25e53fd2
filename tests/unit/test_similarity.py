"""All pairs of similar texts: what comparing all with all finds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.similarity import similar

WORDS = st.lists(st.sampled_from(["card", "cards", "lost", "my", "the", "top-up", "26", "é"]), min_size=1, max_size=9)
TEXTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=12)


def shingles(text: str) -> set[str]:
    """Four characters in a row within words, as scikit-learn cuts them: a word stands between two spaces."""
    padded = [f" {word} " for word in text.split()]
    return {word[at : at + 4] for word in padded for at in range(max(1, len(word) - 3))}


@given(TEXTS, TEXTS, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_the_pairs_are_those_of_comparing_all_with_all(first: list[str], second: list[str], least: float) -> None:
    expected = {}
    for i, ours in enumerate(map(shingles, first)):
        for j, theirs in enumerate(map(shingles, second)):
            likeness = len(ours & theirs) / len(ours | theirs)
            if likeness >= least:
                expected[i, j] = likeness
    found = {}
    for part in similar(first, second, least):
        for i, j, likeness in zip(*part, strict=True):
            assert (int(i), int(j)) not in found
            found[int(i), int(j)] = float(likeness)
    assert found == pytest.approx(expected)


def test_thousands_of_texts_are_compared_in_parts() -> None:
    chance = random.Random(1)
    texts = [" ".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(3000)]
    pairs = {(int(i), int(j)) for part in similar(texts, texts, 1.0) for i, j, _ in zip(*part, strict=True)}
    assert {(n, n) for n in range(3000)} <= pairs
