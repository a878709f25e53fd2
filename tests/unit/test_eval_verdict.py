"""The verdict, as whole texts: who is chosen, why, and what would change it."""

from typing import Any

from eval.statistics import Compared, Interval
from eval.suite import Budget
from eval.verdict import Candidate, Costs, Verdict, excluded, verdict

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
        detectable=1.43 * reach,
        more_items=None if apart else 200,
        verdict="tie" if not apart else "better" if mean > 0 else "worse",
    )


def candidate(
    arm: str, mean: float, behind: Compared | None = None, asked: int | None = None, **costs: Any
) -> Candidate:
    return Candidate(
        arm=arm, task="knowledge", quality=interval(mean, 0.08), gap=behind, costs=Costs(**costs), asked=asked
    )


def best(**costs: Any) -> Candidate:
    return candidate(BEST, 0.75, **costs)


def decided(*candidates: Candidate, tolerance: float = 5, hourly_rate: float | None = None, **budget: Any) -> Verdict:
    return verdict(candidates, Budget(**budget), tolerance, hourly_rate=hourly_rate, counted=True)


def test_the_cheapest_of_those_shown_to_be_good_enough_is_chosen() -> None:
    found = decided(
        best(p95_ms=1900, training_seconds=660),
        candidate("rag", 0.74, gap(-0.01, 0.03), p95_ms=900, training_seconds=0),
        candidate("base", 0.30, gap(-0.45, 0.1), p95_ms=300, training_seconds=0),
    )
    assert (found.best, found.chosen, found.within) == (BEST, "rag", (BEST, "rag"))
    assert found.words == (
        "Use rag.",
        "It answers 74 of 100 questions [66, 82].",
        "The best that the budget allows, lora+rag, answers 75 of 100 questions [67, 83]; on the same questions rag is "
        "1 point behind [-4, 2], surely less than the 5 points that are tolerated.",
        "It is the cheaper one (time to the whole answer (p95, alone)): 900 ms instead of 1.9 s.",
        "Not good enough, by what it is behind the best: base (45 points [-55, -35]).",
    )
    assert found.would_change == (
        "If less than 4.0 points were tolerated, rag would not be good enough any more.",
        "If 55.0 points were tolerated, base, which is cheaper, would do.",
        "A price of the machine's hour (hourly_rate in the suite) would say when training pays for itself.",
    )


def test_not_told_apart_is_not_good_enough_and_how_many_more_questions_would_tell_is_said() -> None:
    found = decided(best(p95_ms=1900), candidate("rag", 0.73, gap(-0.02, 0.06), p95_ms=900))
    assert found.chosen == BEST and found.within == (BEST,)
    assert found.may_be == {"rag": 718}
    assert found.words[2:] == (
        "No arm that the budget allows has a higher score.",
        "rag may be as good: it is 2 points behind [-8, 4]; about 720 more questions would tell.",
    )
    assert found.would_change == (
        "About 720 more questions may show that rag, which is cheaper, is good enough.",
        "If 8.0 points were tolerated, rag, which is cheaper, would do.",
    )


def test_the_budget_excludes_with_the_reason_and_says_what_is_missed() -> None:
    costly = candidate("knowledge-lora+rag", 0.84, gap(0.09, 0.04), p95_ms=2500, training_seconds=660)
    found = decided(best(p95_ms=900, training_seconds=0), costly, p95_ms=1000, training_seconds=600)
    assert found.chosen == BEST
    assert found.words[-1] == (
        "knowledge-lora+rag is 9 points better than lora+rag [5, 13], but left out: its whole answer takes 2.5 s, and "
        "the budget allows 1.0 s; its training takes 11 min, and the budget allows 10 min."
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
    assert "Not known, and so taken for the dearest: time to the whole answer (p95, alone) of outside." in found.words


def test_nothing_fits_the_budget() -> None:
    found = decided(best(p95_ms=900), p95_ms=100)
    assert found.chosen is None and found.best is None
    assert found.words == (
        "No arm fits the budget.",
        "lora+rag is left out: its whole answer takes 900 ms, and the budget allows 100 ms.",
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
    assert found.order == "time to the whole answer (p95, alone)" and found.chosen == BEST and not found.break_even


def test_of_arms_that_cost_alike_the_one_with_less_training_is_chosen() -> None:
    found = decided(
        best(p95_ms=900, training_seconds=660), candidate("rag", 0.75, gap(0.0, 0.02), p95_ms=950, training_seconds=0)
    )
    assert found.chosen == "rag"
    assert (
        found.words[3]
        == "Their costs are alike (950 ms and 900 ms), and it takes less training: 0 s instead of 11 min."
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
