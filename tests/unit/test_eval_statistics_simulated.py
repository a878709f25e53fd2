"""The statistics hold what they say, by simulation: few replicates here, thousands in tests/slow and the benchmark."""

from math import sqrt

import pytest

from benchmarks.simulated_scores import Design, Kind, coverage, macro_f1, paired_coverage, powered, told, within

REPLICATES = 150
LONE, SHARED = Design(100, 1), Design(40, 5, correlation=0.5)


def may_be(share: float, low: float, high: float) -> bool:
    """Whether a share seen in REPLICATES may be one of low to high by chance, in per cent: 4 standard errors."""

    def reach(truth: float) -> float:
        return 4 * sqrt(truth * (100 - truth) / REPLICATES)

    return low - reach(low) <= share <= high + reach(high)


@pytest.mark.parametrize("kind", ["right", "graded"])
def test_intervals_hold_the_truth_where_items_of_a_document_are_alike_and_naive_ones_do_not(kind: Kind) -> None:
    by_document, naive = coverage(SHARED, 0.0, kind, REPLICATES, seed=1)
    assert may_be(by_document, 93, 97) and naive < 87
    by_document, naive = paired_coverage(SHARED, (0.5, 0.0), kind, REPLICATES, seed=2)
    assert may_be(by_document, 93, 97) and naive < 87


@pytest.mark.parametrize("design", [LONE, SHARED])
def test_nothing_is_seldom_told_as_something_even_among_seven(design: Design) -> None:
    (alone, after_holm, without), _ = told(design, [0.0] * 8, "right", REPLICATES, seed=3)
    assert may_be(alone, 3, 7) and may_be(after_holm, 0, 7) and without > after_holm


def test_a_difference_as_large_as_the_detectable_one_is_told_four_times_in_five() -> None:
    assert may_be(powered(LONE, 0.0, "right", REPLICATES)["told"], 75, 85)


def test_an_arm_that_is_just_too_far_behind_is_seldom_called_good_enough() -> None:
    """Half of 5 %, as only one end of the interval decides; with a best that is the luckiest of seven, less."""
    assert may_be(within(LONE, 2, 0.2, REPLICATES, seed=4)[0], 0, 2.5)
    assert may_be(within(SHARED, 8, 0.2, REPLICATES, seed=5)[0], 0, 2.5)


def test_differences_of_macro_f1_hold_the_truth_and_tell_nothing_of_nothing() -> None:
    held, told_of_nothing = macro_f1(SHARED, (0.0, 0.0), REPLICATES, seed=6)
    assert may_be(held, 93, 97) and may_be(told_of_nothing, 3, 7)
