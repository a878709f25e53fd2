"""Intervals: deterministic, as wide as theory says, paired where they should be."""

import math
import random

from eval.statistics import interval, paired


def test_the_interval_of_a_share_is_as_wide_as_theory_says() -> None:
    values = [1.0] * 60 + [0.0] * 140
    found = interval(values)
    assert found is not None and found.mean == 0.3 and found.n == 200
    expected = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert abs((found.high - found.low) / 2 - expected) < 0.15 * expected


def test_the_same_values_give_the_same_interval() -> None:
    values = [random.Random(1).random() for _ in range(50)]
    assert interval(values) == interval(values)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    chance = random.Random(2)
    covered = 0
    for trial in range(100):
        found = interval([float(chance.random() < 0.4) for _ in range(120)], seed=trial)
        assert found is not None
        covered += found.low <= 0.4 <= found.high
    assert covered >= 88


def test_pairing_uses_only_shared_items_and_removes_their_spread() -> None:
    chance = random.Random(3)
    hard = {str(i): chance.random() for i in range(100)}
    better = {item: value + 0.1 for item, value in hard.items()} | {"only here": 0.0}
    found = paired(better, hard)
    assert found is not None and found.n == 100
    assert found.low > 0.099 and found.high < 0.101


def test_nothing_is_not_zero() -> None:
    assert interval([]) is None
    assert paired({"a": 1.0}, {"b": 1.0}) is None
