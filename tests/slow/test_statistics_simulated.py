"""The statistics hold what they say: 2,000 replicates of designs with 40 documents and more, 100 items and more."""

from dataclasses import replace

import pytest

from benchmarks.simulated_scores import Design, Kind, coverage, paired_coverage, powered, told

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REPLICATES = 2000
LONE, EVEN, UNEVEN = Design(120, 1), Design(40, 5, correlation=0.5), Design(60, 5, uneven=True, correlation=0.2)
DESIGNS = [LONE, EVEN, UNEVEN]
KINDS: list[Kind] = ["right", "graded"]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_the_truth(design: Design, kind: Kind) -> None:
    by_document, naive = coverage(design, 0.5, kind, REPLICATES, seed=1)
    assert 93 <= by_document <= 97 and (design is LONE or naive < 90)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_of_differences_hold_the_truth(design: Design, kind: Kind) -> None:
    by_document, naive = paired_coverage(design, (0.3, 0.0), kind, REPLICATES, seed=2)
    assert 93 <= by_document <= 97 and (design is LONE or naive < 90)


@pytest.mark.parametrize("design", [*DESIGNS, replace(UNEVEN, correlation=0.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_told_as_something_about_one_time_in_twenty(design: Design, kind: Kind) -> None:
    (alone, *_), _ = told(design, (0.0, 0.0), kind, REPLICATES, seed=3)
    assert 3 <= alone <= 7


@pytest.mark.parametrize("design", [LONE, UNEVEN])
def test_any_of_seven_is_told_after_holm_no_oftener_than_one_alone(design: Design) -> None:
    (_, after_holm, without), _ = told(design, [0.0] * 8, "right", REPLICATES, seed=4)
    assert after_holm <= 7 < without


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_detectable_difference_is_told_four_times_in_five(design: Design, kind: Kind) -> None:
    assert 75 <= powered(design, 0.0, kind, REPLICATES)["told"] <= 85
