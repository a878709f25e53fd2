"""Intervals and comparisons: what can be computed by eye, and what must never differ."""

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.statistics import (
    averaged,
    compared,
    holm,
    in_family,
    interval,
    paired,
    resampled,
    resampled_difference,
    split,
)
from eval.statistics.groups import Floats
from eval.statistics.significance import mcnemar, sign_flip

scores = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def right(count: int, of: int) -> list[float]:
    """So many right answers, then wrong ones."""
    return [1.0] * count + [0.0] * (of - count)


def by_item(values: list[float]) -> dict[str, float]:
    return {f"{place:03d}": value for place, value in enumerate(values)}


def test_the_interval_of_a_share_is_wilsons() -> None:
    found = interval(right(60, of=200))
    assert found is not None and found.mean == 0.3 and found.n == found.clusters == 200
    assert (found.low, found.high) == pytest.approx(
        (0.2407, 0.3668), abs=0.001
    )  # Wilson's with z; t and n - 1 widen it


def test_all_right_is_not_certain() -> None:
    found = interval(right(100, of=100))
    assert found is not None and found.high == 1.0
    assert found.low == pytest.approx(100 / (100 + 1.984**2), abs=1e-4)


def test_all_right_in_few_documents_is_less_certain_than_in_many() -> None:
    few = interval(right(100, of=100), [str(place // 10) for place in range(100)])
    many = interval(right(100, of=100))
    assert few is not None and many is not None
    assert few.clusters == 10 and few.low < 0.7 < many.low


def test_items_of_a_document_that_go_together_count_for_less() -> None:
    values, documents = right(50, of=100), [str(place // 10) for place in range(100)]
    together, apart = interval(values, documents), interval(values)
    assert together is not None and apart is not None
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_too_few_documents_are_said_to_be_too_few() -> None:
    found = interval(right(5, of=18), [str(place // 2) for place in range(18)])
    assert found is not None and found.clusters == 9 and found.few


def test_a_single_document_tells_nothing() -> None:
    found = interval(right(5, of=18), ["only"] * 18)
    assert found is not None and (found.low, found.high) == (0.0, 1.0)
    assert interval([2.1, 2.4], ["only", "only"]) is None


def test_an_item_without_a_document_stands_alone() -> None:
    assert interval(right(5, of=20), [""] * 20) == interval(right(5, of=20))


def test_values_that_are_no_shares_get_a_t_interval() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0])
    assert found is not None and found.mean == 2.5
    assert found.high - 2.5 == pytest.approx(3.182 * np.std([1, 2, 3, 4], ddof=1) / 2, abs=0.001)


@settings(max_examples=50)
@given(scores, st.randoms())
def test_an_interval_holds_its_mean_stays_in_range_and_knows_no_order(
    values: list[float], chance: random.Random
) -> None:
    documents = [str(place % 4) for place in range(len(values))]
    found = interval(values, documents)
    assert found is not None and 0 <= found.low <= found.mean + 1e-9 and found.mean - 1e-9 <= found.high <= 1
    mixed = list(zip(values, documents, strict=True))
    chance.shuffle(mixed)
    assert interval([value for value, _ in mixed], [document for _, document in mixed]) == found


@settings(max_examples=50)
@given(scores, scores)
def test_turning_a_comparison_round_turns_everything_round(first: list[float], second: list[float]) -> None:
    there, back = compared(by_item(first), by_item(second)), compared(by_item(second), by_item(first))
    assert there is not None and back is not None
    assert there.difference.mean == pytest.approx(-back.difference.mean)
    assert there.difference.low == pytest.approx(-back.difference.high)
    assert {there.verdict, back.verdict} in ({"tie"}, {"better", "worse"})


def test_pairing_uses_only_shared_items_and_removes_their_spread() -> None:
    chance = random.Random(3)
    hard = {str(number): chance.random() for number in range(100)}
    better = {item: value + 0.1 + chance.gauss(0, 0.01) for item, value in hard.items()} | {"only here": 0.0}
    found = paired(better, hard)
    assert found is not None and found.n == 100
    assert 0.09 < found.low < found.high < 0.11


def test_nothing_is_not_zero() -> None:
    assert interval([]) is None
    assert paired({"a": 1.0}, {"b": 1.0}) is None
    assert compared({"a": 1.0}, {"b": 1.0}) is None
    assert resampled(np.zeros((0, 2)), mean_of) is None


@pytest.mark.parametrize(("better", "worse", "p"), [(0, 0, 1.0), (1, 6, 0.0703), (5, 5, 0.8770), (0, 5, 0.03125)])
def test_mcnemars_mid_p_is_that_of_the_binomial(better: int, worse: int, p: float) -> None:
    """(1, 6): 2 x (1 + 7) / 128 less 7 / 128, the example of Fagerland and others of 2013 with its p of 0.070."""
    assert mcnemar(better, worse) == mcnemar(worse, better) == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize(("better", "worse"), [(1, 6), (4, 9), (3, 3), (12, 1)])
def test_turning_single_items_round_gives_mcnemars_p(better: int, worse: int) -> None:
    sums = np.asarray([1.0] * better + [-1.0] * worse + [0.0] * 20)
    assert sign_flip(sums, seed=0) == pytest.approx(mcnemar(better, worse))


def test_many_documents_are_turned_round_by_chance_and_come_close() -> None:
    sums = np.asarray([1.0] * 30 + [-1.0] * 17)
    assert sign_flip(sums, seed=0) == pytest.approx(mcnemar(30, 17), abs=0.01)
    assert sign_flip(sums, seed=0) == sign_flip(sums, seed=0)


def test_right_and_wrong_of_independent_items_are_mcnemars_and_all_else_is_turned_round() -> None:
    first, second = by_item(right(30, of=40)), by_item(right(20, of=40))
    lone, shared = compared(first, second), compared(first, second, {item: item[:2] for item in first})
    graded = compared({item: value / 2 for item, value in first.items()}, second)
    assert lone is not None and shared is not None and graded is not None
    assert lone.test == "mid-p McNemar" and lone.p == pytest.approx(mcnemar(10, 0))
    assert shared.test == graded.test == "sign-flip permutation"


def test_a_clear_difference_is_told_and_no_more_items_are_asked_for() -> None:
    found = compared(by_item(right(90, of=100)), by_item(right(50, of=100)))
    assert found is not None and found.verdict == "better" and found.more_items is None
    assert found.difference.low > 0.2


def test_a_tie_says_what_could_have_been_found_and_how_many_more_items_would_tell() -> None:
    first = by_item(right(50, of=100))
    second = first | {f"{place:03d}": 0.0 for place in range(10)} | {f"{place:03d}": 1.0 for place in range(50, 57)}
    found = compared(first, second)
    assert found is not None and found.verdict == "tie" and found.difference.mean == pytest.approx(0.03)
    assert found.error is not None and found.detectable is not None and 0.10 < found.detectable < 0.14
    assert found.more_items == pytest.approx(100 * ((2.8016 * found.error / 0.03) ** 2 - 1), abs=1)


def test_in_a_family_a_larger_difference_is_needed_as_each_is_told_more_clearly() -> None:
    base = by_item(right(50, of=100))
    one = compared(base | {"000": 0.0, "050": 1.0, "051": 1.0}, base)
    assert one is not None and one.detectable is not None and one.more_items is not None
    first, *_ = in_family([one] * 10)
    assert first.detectable is not None and first.more_items is not None
    assert first.detectable > 1.2 * one.detectable and first.more_items > 1.5 * one.more_items


def test_a_single_document_says_nothing_of_what_could_be_found() -> None:
    found = compared(by_item(right(3, of=5)), by_item(right(1, of=5)), dict.fromkeys(by_item(right(0, of=5)), "only"))
    assert found is not None and (found.difference.low, found.difference.high) == (-1, 1)
    assert found.error is found.detectable is found.more_items is None and found.verdict == "tie"


def test_no_difference_of_shares_is_beyond_all_of_them() -> None:
    found = compared(by_item([1.0, 0.0, 1.0]), by_item([0.0, 0.0, 1.0]))
    assert found is not None and found.detectable == 1.0 and found.difference.high <= 1


def test_where_little_matters_a_tie_may_need_no_more_items() -> None:
    first = by_item(right(500, of=1000))
    found = compared(first, first | {"000": 0.0}, matters=0.05)
    assert found is not None and found.verdict == "tie" and found.more_items == 0


def test_arms_that_never_differ_are_a_tie_with_an_interval() -> None:
    first = by_item(right(50, of=100))
    found = compared(first, first)
    assert found is not None and found.verdict == "tie" and found.p == 1.0 and found.more_items is None
    assert -0.04 < found.difference.low < 0 < found.difference.high < 0.04


def test_holm_multiplies_the_smallest_by_their_number_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_what_is_told_alone_may_be_a_tie_among_many() -> None:
    base = by_item(right(50, of=100))
    other = base | {f"{place:03d}": 0.0 for place in range(2)} | {f"{place:03d}": 1.0 for place in range(50, 61)}
    alone = compared(other, base)
    assert alone is not None and alone.verdict == "better"
    first, *_ = in_family([alone] * 10)
    assert first.verdict == "tie" and first.adjusted == pytest.approx(10 * alone.p) and first.more_items is not None


def test_repeats_are_averaged_within_an_item() -> None:
    assert averaged({"a": [1.0, 0.0], "b": [1.0], "c": []}) == {"a": 0.5, "b": 1.0}


def test_the_spread_is_split_into_items_and_seeds() -> None:
    chance = np.random.default_rng(0)
    found = split({str(item): list(chance.normal(0, 2) + chance.normal(0, 1, 3)) for item in range(2000)})
    assert found is not None
    assert found.between_items == pytest.approx(4, rel=0.1) and found.within_items == pytest.approx(1, rel=0.1)
    assert found.error == pytest.approx(((4 + 1 / 3) / 2000) ** 0.5, rel=0.1)
    assert found.with_twice_the_items < found.with_twice_the_seeds < found.error


def test_seeds_that_change_nothing_have_no_share() -> None:
    found = split({"a": [1.0, 1.0], "b": [0.0, 0.0], "c": [1.0, 1.0]})
    assert found is not None and found.within_items == 0 and found.share_of_seeds == 0
    assert found.with_twice_the_seeds == found.error


def test_without_repeats_nothing_is_split() -> None:
    assert split({"a": [1.0], "b": [0.0]}) is None and split({"a": [1.0, 0.0]}) is None


def mean_of(sums: Floats) -> Floats:
    return sums[:, 0] / sums[:, 1]


def counted(values: list[float]) -> Floats:
    """Of each item its value, and that it is one."""
    return np.column_stack([values, np.ones(len(values))])


def difference_of(sums: Floats) -> Floats:
    return mean_of(sums[:, :2]) - mean_of(sums[:, 2:])


def test_a_figure_of_the_whole_set_has_the_interval_of_a_mean_where_it_is_one() -> None:
    chance = random.Random(4)
    values, documents = [chance.random() for _ in range(120)], [str(place // 3) for place in range(120)]
    drawn, direct = resampled(counted(values), mean_of, documents), interval(values, documents)
    assert drawn is not None and direct is not None and drawn.clusters == 40
    assert (drawn.low, drawn.high) == pytest.approx((direct.low, direct.high), abs=0.005)


def test_a_difference_of_figures_has_the_interval_of_a_mean_difference_and_turns_round() -> None:
    chance = random.Random(4)
    one, other = ([float(chance.random() < share) for _ in range(120)] for share in (0.9, 0.5))
    documents = [str(place // 3) for place in range(120)]
    there = resampled_difference(np.hstack([counted(one), counted(other)]), difference_of, documents)
    back = resampled_difference(np.hstack([counted(other), counted(one)]), difference_of, documents)
    direct = paired(by_item(one), by_item(other), dict(zip(by_item(one), documents, strict=True)))
    assert there is not None and back is not None and direct is not None
    assert (there[0].low, there[0].high) == pytest.approx((-back[0].high, -back[0].low))
    assert (there[0].low, there[0].high) == pytest.approx((direct.low, direct.high), abs=0.01)


def test_equal_answers_leave_some_doubt_and_a_single_document_all() -> None:
    same = np.hstack([counted(right(50, of=100))] * 2)
    many, one = resampled_difference(same, difference_of), resampled_difference(same, difference_of, ["only"] * 100)
    assert many is not None and one is not None
    assert many[0].low == pytest.approx(-many[0].high) and 0.01 < many[0].high < 0.04
    assert (one[0].low, one[0].high, one[1]) == (-1, 1, None)


def test_a_thousand_items_are_compared_within_a_second() -> None:
    chance = random.Random(5)
    first, second = (by_item([chance.random() for _ in range(1000)]) for _ in range(2))
    start = time.perf_counter()
    compared(first, second)
    assert time.perf_counter() - start < 1
