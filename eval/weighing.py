"""From results to a verdict: what each candidate scores and costs, held against the best that the budget allows."""

from collections.abc import Mapping

from eval.costs import Cost, Once
from eval.metrics import METRICS
from eval.quality import TaskResult
from eval.sample import Sample, Samples, gap
from eval.statistics import Compared, in_family
from eval.suite import Suite, Task
from eval.verdict import Candidate, Costs, Verdict, excluded, verdict


def weighed(
    suite: Suite, task: Task, results: Mapping[str, tuple[TaskResult, Once]], samples: Samples
) -> Verdict | None:
    """The verdict on a task from the results by arm.

    None if no candidate has a score, or if the primary metric is no share that is better when higher: a tolerance in
    points means nothing there.
    """
    metric = METRICS[task.headline]
    known = {
        arm: (result, once)
        for arm, (result, once) in results.items()
        if result.candidate and task.headline in result.scores
    }
    if not known or metric.unit != "share" or metric.lower_is_better:
        return None
    costs = {arm: _costs(result.cost, once) for arm, (result, once) in known.items()}
    parts = {arm: samples.part(arm, task.name) for arm in known}
    best = _best(known, task.headline, excluded(costs, suite.budget))
    gaps = _gaps(parts, best, task.headline, suite.tolerance / 100)
    candidates = [
        Candidate(
            arm=arm,
            task=task.name,
            quality=result.scores[task.headline],
            gap=gaps.get(arm),
            costs=costs[arm],
            asked=len(parts[arm].examples),
        )
        for arm, (result, _) in known.items()
    ]
    counted = metric.whole is None and all(_right_or_wrong(part, task.headline) for part in parts.values())
    return verdict(candidates, suite.budget, suite.tolerance, hourly_rate=suite.hourly_rate, counted=counted)


def _best(known: Mapping[str, tuple[TaskResult, Once]], metric: str, out: Mapping[str, str]) -> str:
    """Of those the budget leaves, or of all if it leaves none; of equals the first."""
    allowed = [arm for arm in known if arm not in out] or list(known)
    return max(allowed, key=lambda arm: known[arm][0].scores[metric].mean)


def _gaps(parts: Mapping[str, Sample], best: str, metric: str, matters: float) -> dict[str, Compared]:
    """Every other arm minus the best, told as one family; an arm that shares no item with it is not there."""
    found = {arm: gap(part, parts[best], metric, matters) for arm, part in parts.items() if arm != best}
    known = {arm: each for arm, each in found.items() if each is not None}
    return dict(zip(known, in_family(list(known.values())), strict=True))


def _costs(cost: Cost, once: Once) -> Costs:
    return Costs(
        first_token_ms=cost.first_alone.p95 if cost.first_alone else None,
        p95_ms=cost.whole_alone.p95 if cost.whole_alone else None,
        price_per_1000=cost.price,
        training_seconds=once.training_seconds,
        training_memory=once.training_memory,
        artifact_bytes=once.artifact_bytes,
        index_seconds=once.index_seconds,
        update_seconds=once.update_seconds,
        prompt_tokens=cost.prompt_tokens,
    )


def _right_or_wrong(sample: Sample, metric: str) -> bool:
    return all(score in (0, 1) for scores in sample.repeats(metric).values() for score in scores)
