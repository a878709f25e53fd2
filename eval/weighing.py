"""From results to a verdict: what each candidate scores and costs, held against the best that the budget allows."""

from collections.abc import Mapping

from eval.contest import Contest
from eval.costs import Cost, Once
from eval.metrics import METRICS
from eval.quality import TaskResult
from eval.suite import Suite
from eval.verdict import NO_COMMON_ITEMS, Candidate, Costs, Timing, Verdict, verdict

COUNTED = frozenset(
    {
        "exact_match",
        "containment",
        "numeric_match",
        "label_accuracy",
        "choice_accuracy",
        "choice_accuracy_per_token",
    }
)
"""Metrics of which a score of 1 is a question answered rightly, and 0 one that is not."""


def weighed(suite: Suite, on: Contest, results: Mapping[str, TaskResult], costs: Mapping[str, Costs]) -> Verdict | None:
    """The verdict on a task from the results by arm.

    None if no candidate has a score, or if the primary metric is no share that is better when higher: a tolerance in
    points means nothing there.
    """
    task = on.task
    metric = METRICS[task.headline]
    known = [arm for arm in on.candidates if task.headline in results[arm].scores]
    if not known or metric.unit != "share" or metric.lower_is_better:
        return None
    against = on.best or on.leader
    candidates = [
        Candidate(
            arm=arm,
            task=task.name,
            quality=results[arm].scores[task.headline],
            gap=on.gap(arm, against),
            costs=costs[arm],
            asked=results[arm].asked,
            scored=results[arm].scored,
        )
        for arm in known
    ]
    apart = [one.arm for one in candidates if against and one.gap is None and one.arm != against]
    return verdict(
        candidates,
        suite.budget,
        suite.tolerance,
        hourly_rate=suite.hourly_rate,
        counted=task.headline in COUNTED,
        metric=task.headline,
        short=dict.fromkeys(apart, NO_COMMON_ITEMS) | dict(on.short),
    )


def costs_of(cost: Cost, once: Once) -> Costs:
    """What a verdict weighs of an arm's cost on a task."""
    whole = cost.whole_alone
    return Costs(
        first_token_ms=cost.first_alone.p95 if cost.first_alone else None,
        p95_ms=whole.p95 if whole else None,
        answer=Timing(median=whole.median, low=whole.low, high=whole.high, n=whole.n) if whole else None,
        price_per_1000=cost.price,
        price_range=cost.price_range,
        training_seconds=once.training_seconds,
        training_price=once.training_price,
        training_memory=once.training_memory,
        artifact_bytes=once.artifact_bytes,
        index_seconds=once.index_seconds,
        update_seconds=once.update_seconds,
        prompt_tokens=cost.prompt_tokens,
        outside=once.outside,
    )
