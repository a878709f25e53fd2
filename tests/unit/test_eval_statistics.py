"""Intervals: deterministic, as wide as theory says, paired where they should be."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.statistics import RESAMPLES, interval, paired

scores = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_the_interval_of_a_share_is_as_wide_as_theory_says() -> None:
    found = interval([1.0] * 60 + [0.0] * 140)
    assert found is not None and found.mean == 0.3 and found.n == 200
    expected = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.1)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    chance = random.Random(2)
    covered = 0
    for trial in range(100):
        found = interval([float(chance.random() < 0.4) for _ in range(120)], seed=trial)
        assert found is not None
        covered += found.low <= 0.4 <= found.high
    assert covered >= 88


@settings(max_examples=25)
@given(scores)
def test_the_same_values_give_the_same_interval_which_lies_among_them_and_holds_the_mean(values: list[float]) -> None:
    found = interval(values)
    assert found is not None and found == interval(values)
    rounding = 1e-9
    assert min(values) - rounding <= found.low <= found.mean + rounding
    assert found.mean - rounding <= found.high <= max(values) + rounding


@settings(max_examples=25)
@given(scores, scores)
def test_turning_a_comparison_round_turns_its_mean_round(first: list[float], second: list[float]) -> None:
    left, right = ({str(number): value for number, value in enumerate(values)} for values in (first, second))
    there, back = paired(left, right), paired(right, left)
    assert there is not None and back is not None
    assert there.mean == pytest.approx(-back.mean)
    assert there.low == pytest.approx(-back.high, abs=0.02)  # percentiles are cut between resamples


def test_another_seed_moves_the_ends_only_a_little() -> None:
    chance = random.Random(1)
    values = [chance.random() for _ in range(100)]
    first, second = interval(values, seed=1), interval(values, seed=2)
    assert first is not None and second is not None and first != second
    assert first.low == pytest.approx(second.low, abs=0.01)


def test_drawing_in_pieces_gives_what_drawing_at_once_gives() -> None:
    values = np.arange(600.0) % 7
    drawn = np.random.default_rng(0).integers(0, 600, (RESAMPLES, 600))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    found = interval(values.tolist())
    assert found is not None and (found.low, found.high) == (low, high)


def test_pairing_uses_only_shared_items_and_removes_their_spread() -> None:
    chance = random.Random(3)
    hard = {str(number): chance.random() for number in range(100)}
    better = {item: value + 0.1 for item, value in hard.items()} | {"only here": 0.0}
    found = paired(better, hard)
    assert found is not None and found.n == 100
    assert found.low > 0.099 and found.high < 0.101


def test_nothing_is_not_zero() -> None:
    assert interval([]) is None
    assert paired({"a": 1.0}, {"b": 1.0}) is None
