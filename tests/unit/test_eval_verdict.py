"""The verdict, as whole texts: who is chosen, why, and what would change it."""

from typing import Any

import pytest

from eval.statistics import Compared, Interval
from eval.suite import Budget
from eval.verdict import Candidate, Costs, Timing, Verdict, excluded, verdict
from eval.verdict.price import Amount

BEST = "lora+rag"


def interval(mean: float, reach: float, n: int = 100, clusters: int = 50) -> Interval:
    return Interval(mean=mean, low=mean - reach, high=mean + reach, n=n, clusters=clusters)


def gap(mean: float, reach: float) -> Compared:
    apart = abs(mean) > reach
    return Compared(
        difference=interval(mean, reach),
        p=0.01 if apart else 0.3,
        adjusted=0.01 if apart else 0.3,
        test="sign-flip permutation",
        error=reach / 1.98,
        freedom=99,
        shares=True,
        detectable=1.43 * reach,
        more_items=None if apart else 200,
        verdict="tie" if not apart else "better" if mean > 0 else "worse",
    )


def candidate(
    arm: str, mean: float, behind: Compared | None = None, asked: int | None = None, **costs: Any
) -> Candidate:
    if (time := costs.get("p95_ms")) is not None:
        costs = {"answer": Timing(median=time, low=0.97 * time, high=time, n=7)} | costs
    known = Costs(**{"index_seconds": 0} | costs)
    return Candidate(arm=arm, task="knowledge", quality=interval(mean, 0.08), gap=behind, costs=known, asked=asked)


def best(**costs: Any) -> Candidate:
    return candidate(BEST, 0.75, **costs)


def decided(
    *candidates: Candidate,
    tolerance: float = 5,
    hourly_rate: float | None = None,
    short: dict[str, str] | None = None,
    **budget: Any,
) -> Verdict:
    return verdict(candidates, Budget(**budget), tolerance, hourly_rate=hourly_rate, counted=True, short=short or {})


def test_the_cheapest_of_those_shown_to_be_good_enough_is_chosen() -> None:
    found = decided(
        best(p95_ms=1900, training_seconds=660),
        candidate("rag", 0.74, gap(-0.01, 0.03), p95_ms=900, training_seconds=0),
        candidate("base", 0.30, gap(-0.45, 0.1), p95_ms=300, training_seconds=0),
    )
    assert (found.best, found.chosen, found.within) == (BEST, "rag", (BEST, "rag"))
    assert found.words == (
        "Use rag.",
        "It answers 74 of 100 questions rightly [66, 82].",
        "The best that the budget allows, lora+rag, answers 75 of 100 questions rightly [67, 83]; on the same "
        "questions rag is 1 point behind [-2, 4], surely less than the 5 points that are tolerated.",
        "It is the cheaper one (median time to the whole answer, of 7 requests alone): 900 ms instead of 1.9 s.",
        "It needs no training.",
        "Not good enough: base (45 points behind [35, 55]).",
    )
    assert found.would_change == (
        "If less than 4.0 points were tolerated, rag would not be good enough any more.",
        "A price of the machine's hour (hourly_rate in the suite) would say when training pays for itself.",
    )


def test_not_told_apart_is_not_good_enough_and_how_many_more_questions_would_tell_is_said() -> None:
    found = decided(best(p95_ms=1900), candidate("rag", 0.73, gap(-0.02, 0.06), p95_ms=900))
    assert found.chosen == BEST and found.within == (BEST,)
    assert found.may_be == {"rag": 701}
    assert found.words[2:] == (
        "No arm that the budget allows has a higher score.",
        "What its training took is not recorded.",
        "rag may be as good: it is 2 points behind [-4, 8]; about 700 more questions would tell.",
    )
    assert found.would_change == (
        "About 700 more questions may show that rag, which is cheaper, is good enough.",
        "If 8.0 points were tolerated, rag, which is cheaper, would do.",
    )


def test_what_an_index_took_is_said_to_be_unknown_where_it_is() -> None:
    found = decided(best(p95_ms=1900, training_seconds=0, index_seconds=None))
    assert "It needs no training; what its index took is not recorded." in found.words


def test_more_questions_than_anyone_asks_are_not_counted() -> None:
    found = decided(best(p95_ms=1900), candidate("rag", 0.71, gap(-0.045, 0.06), p95_ms=900))
    assert found.may_be == {"rag": None}
    assert found.words[-1].endswith("no practical number of questions would tell.")


def test_the_budget_excludes_with_the_reason_and_says_what_is_missed() -> None:
    costly = candidate("knowledge-lora+rag", 0.84, gap(0.09, 0.04), p95_ms=2500, training_seconds=660)
    found = decided(best(p95_ms=900, training_seconds=0), costly, p95_ms=1000, training_seconds=600)
    assert found.chosen == BEST
    assert found.words[-1] == (
        "knowledge-lora+rag is 9 points better than lora+rag [5, 13], but left out: its whole answer takes 2.5 s (the "
        "slowest of 7 requests alone), and the budget allows 1.0 s; its training takes 11 min, and the budget "
        "allows 10 min."
    )
    assert "A larger budget: knowledge-lora+rag would then be 9 points better." in found.would_change


def test_a_cost_that_is_not_known_excludes_only_where_the_budget_limits_it() -> None:
    unknown = candidate("outside", 0.75, gap(0.0, 0.01))
    assert decided(best(p95_ms=900), unknown).within == (BEST, "outside")
    found = decided(best(p95_ms=900), unknown, p95_ms=1000)
    assert found.excluded == {
        "outside": "the time of its whole answer is not known, and the budget allows 1.0 s",
    }


def test_a_cost_that_is_not_known_is_no_low_cost() -> None:
    found = decided(best(p95_ms=900), candidate("outside", 0.75, gap(0.0, 0.01)))
    assert found.chosen == BEST
    assert found.words[-1] == (
        "Not known of outside, and so taken for the dearest: median time to the whole answer, of 7 requests alone."
    )


def test_nothing_fits_the_budget() -> None:
    found = decided(best(p95_ms=900), p95_ms=100)
    assert found.chosen is None and found.best is None
    assert found.words == (
        "No arm fits the budget.",
        "lora+rag is left out: its whole answer takes 900 ms (the slowest of 7 requests alone), and the budget "
        "allows 100 ms.",
    )
    assert found.would_change == ("A larger budget would: see what each arm takes.",)


def test_prices_hold_training_and_updates_where_the_queries_are_known() -> None:
    """660 s at 3.6 an hour are 0.66: over 1,000 queries they cost as much a query as they are; over 100,000 nothing."""
    lora = best(price_per_1000=0.1, training_seconds=660, index_seconds=0, update_seconds=660)
    rag = candidate(
        "rag", 0.75, gap(0.0, 0.02), price_per_1000=0.4, training_seconds=0, index_seconds=20, update_seconds=20
    )
    few, many = (decided(lora, rag, queries=queries, hourly_rate=3.6) for queries in (1_000, 100_000))
    assert (few.chosen, many.chosen) == ("rag", BEST)
    assert few.order == "price of 1,000 queries, training and updates included"
    (even,) = few.break_even
    assert even.queries is not None and round(even.queries) == 2133 and even.below_queries == "rag"
    assert "From about 2,100 queries a month on lora+rag is cheaper, below that rag." in few.would_change


def test_weights_that_hold_knowledge_are_trained_anew_at_every_update() -> None:
    lora = best(price_per_1000=0.1, training_seconds=660, index_seconds=0, update_seconds=660)
    rag = candidate(
        "rag", 0.75, gap(0.0, 0.02), price_per_1000=0.4, training_seconds=0, index_seconds=20, update_seconds=20
    )
    found = decided(lora, rag, queries=10_000, updates=30, hourly_rate=3.6)
    assert found.chosen == "rag"
    assert (
        "If the knowledge changes more often than about 4 times a month, rag is cheaper, below that lora+rag."
        in found.would_change
    )


def test_without_a_price_of_the_hour_training_has_none_and_time_decides() -> None:
    lora = best(price_per_1000=0.1, training_seconds=660, index_seconds=0, p95_ms=500)
    rag = candidate("rag", 0.75, gap(0.0, 0.02), price_per_1000=0.05, training_seconds=0, index_seconds=20, p95_ms=900)
    found = decided(lora, rag, queries=1_000)
    assert (
        found.order.startswith("median time to the whole answer")
        and found.chosen == BEST
        and found.break_even[0].unit == "seconds"
    )


def test_of_arms_that_cost_alike_the_one_with_less_training_is_chosen() -> None:
    found = decided(
        best(p95_ms=900, training_seconds=660), candidate("rag", 0.75, gap(0.0, 0.02), p95_ms=950, training_seconds=0)
    )
    assert found.chosen == "rag"
    assert (
        found.words[3]
        == "Their costs are alike (950 ms and 900 ms), and it takes less training: 0 s instead of 11 min."
    )


def test_where_no_cost_is_known_the_better_one_is_chosen_and_that_is_said() -> None:
    found = decided(best(), candidate("rag", 0.74, gap(-0.01, 0.02)))
    assert found.chosen == BEST
    assert found.words[2:] == (
        "No arm that the budget allows has a higher score.",
        "What its training took is not recorded.",
        "Also good enough, and not known to be cheaper: rag.",
        "Nothing is known of what the arms cost, so the better one is chosen.",
    )


def test_the_verdict_says_what_has_no_score() -> None:
    found = decided(best(), candidate("rag", 0.5, gap(-0.25, 0.1), asked=125))
    assert found.coverage == 0.8
    assert found.words[-1] == (
        "rag has a score of 100 of 125 questions (80 %): the others failed or could not be scored and are left out, "
        "not counted as wrong."
    )


def test_the_verdict_says_when_there_are_too_few_documents() -> None:
    few = Candidate(arm="rag", task="knowledge", quality=interval(0.5, 0.3, clusters=4))
    assert decided(few).words[-1] == (
        "The questions come from 4 documents only: too few to rely on the ranges in brackets."
    )


def test_an_arm_without_a_common_item_is_left_out() -> None:
    found = decided(best(p95_ms=900), candidate("other", 0.5))
    assert found.excluded == {"other": "it shares no item with the best"}
    assert found.words[-1] == "other is left out: it shares no item with the best."


def test_what_fits_the_budget_is_known_before_anything_is_compared() -> None:
    costs = {"slow": Costs(first_token_ms=900), "fast": Costs(first_token_ms=90)}
    reason = "its first token takes 900 ms, and the budget allows 100 ms"
    assert excluded(costs, Budget(first_token_ms=100)) == {"slow": reason}


def test_one_slow_request_makes_no_arm_dearer() -> None:
    """Both answer in 900 ms as a rule; the first had one of 4 s, which only a budget of the slowest minds."""
    slow = Timing(median=940, low=810, high=1300, n=7)
    found = decided(
        best(answer=slow, p95_ms=4000, training_seconds=0),
        candidate("rag", 0.73, gap(-0.01, 0.02), p95_ms=820, training_seconds=0),
    )
    assert found.chosen == BEST


def test_a_cost_is_lower_only_by_more_than_a_tenth_and_if_the_ranges_do_not_meet() -> None:
    one, near, wide, apart = Amount(100, 95, 105), Amount(109, 107, 111), Amount(150, 104, 190), Amount(150, 140, 160)
    assert [one.less_than(other) for other in (near, wide, apart)] == [False, False, True]


def test_an_arm_without_enough_scores_is_left_out_with_the_reason_however_good_it_looks() -> None:
    reason = "it has a score of 10 of its 100 questions, and 95 % are needed"
    found = decided(
        best(p95_ms=900), candidate("lucky", 0.99, gap(0.2, 0.1), asked=1000, p95_ms=100), short={"lucky": reason}
    )
    assert (found.best, found.chosen, found.excluded) == (BEST, BEST, {"lucky": reason})
    assert found.words[-1].endswith(f"but left out: {reason}.") and not found.would_change


def test_an_arm_that_failed_everything_is_named_and_counts_in_the_coverage() -> None:
    found = decided(best(p95_ms=900), short={"gone": "it has a score of none of its 100 questions"})
    assert found.coverage == 0 and found.chosen == BEST
    assert found.words[-1] == "gone is left out: it has a score of none of its 100 questions."


def test_more_questions_are_not_said_to_show_what_they_would_disprove() -> None:
    found = decided(best(p95_ms=1900), candidate("rag", 0.68, gap(-0.07, 0.06), p95_ms=900))
    assert found.would_change == ()
    assert any(line.startswith("rag looks not good enough, which is not sure: it is 7 points") for line in found.words)


def test_without_prices_training_is_paid_back_in_time_of_the_machine() -> None:
    """660 s of training against 1.0 s a question."""
    lora = best(p95_ms=900, training_seconds=660)
    rag = candidate("rag", 0.74, gap(-0.01, 0.02), p95_ms=1900, training_seconds=0)
    found = decided(lora, rag)
    (even,) = found.break_even
    assert even.unit == "seconds" and even.queries == pytest.approx(660) and even.below_queries == "rag"
    assert "Before the first question it takes 11 min of training." in found.words
    assert (
        "Counted in time of the machine, what lora+rag takes before the first question is paid back after about 660 "
        "questions; up to there rag takes less." in found.would_change
    )


def test_what_was_paid_for_an_outside_arm_before_is_unknown_and_said_to_be() -> None:
    hosted = best(price_per_1000=0.3, outside=True)
    rag = candidate("rag", 0.5, gap(-0.25, 0.02), price_per_1000=0.5, training_seconds=0, index_seconds=0)
    found = decided(hosted, rag, queries=1000, hourly_rate=1)
    assert found.order == "price of 1,000 queries, training and updates included" and found.chosen == BEST
    assert "What its training has cost is not known, and in no figure here." in found.words
    reason = "the time of its training is not known, and the budget allows 60 s"
    assert decided(hosted, rag, training_seconds=60).excluded[BEST] == reason


def test_a_score_that_is_no_count_of_right_answers_is_named() -> None:
    found = verdict([best(p95_ms=900)], Budget(), 5, metric="token_f1")
    assert found.words[1] == "It scores 75 points of token F1 [67, 83]."
