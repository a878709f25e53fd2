"""From a run to a report: a pure function of the run file. The same run always gives the same report."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.runfile import Header, Item, Reply, Run
from eval.statistics import Interval, interval, paired
from eval.suite import Arm, Comparison, Task
from ragtune.examples import UNANSWERABLE


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Latency(_Frozen):
    """Milliseconds to the first token, over `n` requests."""

    median: float
    p95: float
    n: int


class Cost(_Frozen):
    """What answers took: tokens are means a request; `loaded` is with as many others at once as the suite says."""

    loaded: Latency | None
    prompt_tokens: float | None
    cached_tokens: float | None
    completion_tokens: float | None


class SliceResult(_Frozen):
    """Items that are reported apart: the unanswerable ones by abstention, others by the task's primary metric."""

    metric: str
    score: Interval | None
    failed: int


class TaskResult(_Frozen):
    """One arm on one task. `scores` are over the items of no slice, failures left out.

    `leading`: the best on the primary metric, or not told apart from the best by the paired interval.
    `abstained` is on answerable items, where it is wrong; None if the task has no unanswerable ones.
    """

    scores: dict[str, Interval]
    leading: bool
    abstained: Interval | None
    slices: dict[str, SliceResult]
    gold_retrieved: Interval | None
    answered: int
    failed: int
    unparsable: int
    cut_off: int
    cost: Cost


class ArmResult(_Frozen):
    """One arm: quality by task, and what it costs. `training_seconds` is None where a training is not recorded.

    `alone` is of requests that had the service to themselves.
    `versions` lists, for each part of the mode, every version that answered; more than one means it changed meanwhile.
    """

    name: str
    mode: str
    tasks: dict[str, TaskResult]
    cost: Cost
    alone: Latency | None
    training_seconds: float | None
    versions: dict[str, tuple[str, ...]]
    failed: int
    retries: int


class Difference(_Frozen):
    """A comparison that was asked for, on the items both arms answered; `left_out` had no answer from one of them."""

    asked: Comparison
    difference: Interval | None
    left_out: int
    reached: bool
    verdict: str


class Report(_Frozen):
    """Everything shown."""

    header: Header
    arms: tuple[ArmResult, ...]
    differences: tuple[Difference, ...]
    failures: dict[str, int]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the suite's order."""
        return self.header.suite.tasks


def report(run: Run) -> Report:
    """The report of a run."""
    suite = run.header.suite
    leading = {task.name: _leading(task, suite.arms, run.items) for task in suite.tasks}
    return Report(
        header=run.header,
        arms=tuple(_arm(run.header, arm, _of_arm(run.items, arm.name), leading) for arm in suite.arms),
        differences=tuple(_difference(comparison, run.items) for comparison in suite.comparisons),
        failures=dict(Counter(item.error for item in run.items if item.error).most_common()),
    )


def _arm(header: Header, arm: Arm, items: Sequence[Item], leading: Mapping[str, set[str]]) -> ArmResult:
    return ArmResult(
        name=arm.name,
        mode=arm.mode or arm.name,
        tasks={
            task.name: _task(task, [i for i in items if i.task == task.name], arm.name in leading[task.name])
            for task in header.suite.asked(arm)
        },
        cost=_cost(items),
        alone=_latency([alone.first_token_ms for alone in header.alone.get(arm.name, ())]),
        training_seconds=_training_seconds(header, arm),
        versions=_versions(items),
        failed=sum(item.error is not None for item in items),
        retries=sum(item.retries for item in items),
    )


def _task(task: Task, items: Sequence[Item], leading: bool) -> TaskResult:
    main = [item for item in items if not item.slice]
    scores = {metric: found for metric in task.metrics if (found := _score(metric, main)) is not None}
    replies = _replies(main)
    return TaskResult(
        scores=scores,
        leading=leading,
        abstained=_score("abstention", main),
        slices={
            name: _slice(task, name, [item for item in items if item.slice == name])
            for name in sorted({item.slice for item in items if item.slice})
        },
        gold_retrieved=interval([float(i.gold_retrieved) for i in main if i.gold_retrieved is not None]),
        answered=len(replies),
        failed=sum(item.error is not None for item in main),
        unparsable=sum(item.unparsable for item in main),
        cut_off=sum(reply.finish_reason == "length" for reply in replies),
        cost=_cost(items),
    )


def _slice(task: Task, name: str, items: Sequence[Item]) -> SliceResult:
    metric = "abstention" if name == UNANSWERABLE else task.headline
    failed = sum(item.error is not None for item in items)
    return SliceResult(metric=metric, score=_score(metric, items), failed=failed)


def _cost(items: Sequence[Item]) -> Cost:
    usages = [reply.usage for reply in _replies(items)]
    return Cost(
        loaded=_latency([reply.timings.first_token_ms for reply in _replies(items)]),
        prompt_tokens=_mean(usage.prompt_tokens for usage in usages),
        cached_tokens=_mean(usage.cached_tokens for usage in usages),
        completion_tokens=_mean(usage.completion_tokens for usage in usages),
    )


def _latency(times: Sequence[float]) -> Latency | None:
    if not times:
        return None
    median, p95 = np.percentile(times, [50, 95])
    return Latency(median=float(median), p95=float(p95), n=len(times))


def _training_seconds(header: Header, arm: Arm) -> float | None:
    trained = header.trained.get(arm.name)
    return trained.seconds if trained else 0.0


def _versions(items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for reply in _replies(items):
        for part, version in reply.versions.items():
            found.setdefault(part, {})[version] = None
    return {part: tuple(versions) for part, versions in found.items()}


def _leading(task: Task, arms: Sequence[Arm], items: Sequence[Item]) -> set[str]:
    """The arms that are best on the primary metric, or whose paired difference from the best may be nothing.

    Arms that were asked only a part of the task are no candidates.
    """
    whole = [arm.name for arm in arms if task.name not in arm.limits]
    scores = {arm: _by_example(arm, task.name, task.headline, items) for arm in whole}
    scores = {arm: found for arm, found in scores.items() if found}
    if not scores:
        return set()
    best = max(scores, key=lambda arm: statistics.fmean(scores[arm].values()))
    behind = {arm: paired(scores[best], found) for arm, found in scores.items() if arm != best}
    return {best} | {arm for arm, gap in behind.items() if gap is not None and gap.low <= 0}


def _difference(asked: Comparison, items: Sequence[Item]) -> Difference:
    arm, over = (_by_example(name, asked.task, asked.metric, items) for name in (asked.arm, asked.over))
    difference = paired(arm, over)
    examples = {i.example for i in items if i.task == asked.task and i.arm in (asked.arm, asked.over) and not i.slice}
    return Difference(
        asked=asked,
        difference=difference,
        left_out=len(examples) - (difference.n if difference else 0),
        reached=difference is not None and 100 * difference.low > asked.margin,
        verdict=_verdict(difference, asked.margin),
    )


def _verdict(difference: Interval | None, margin: float) -> str:
    if difference is None:
        return "no item answered by both"
    if 100 * difference.low > margin:
        return "reached"
    if difference.high < 0:
        return "worse"
    if difference.low <= 0:
        return "tie"
    return "better, by less" if 100 * difference.high <= margin else "better, margin uncertain"


def _by_example(arm: str, task: str, metric: str, items: Sequence[Item]) -> dict[str, float]:
    return {
        item.example: item.scores[metric]
        for item in items
        if item.arm == arm and item.task == task and not item.slice and metric in item.scores
    }


def _of_arm(items: Sequence[Item], name: str) -> list[Item]:
    return [item for item in items if item.arm == name]


def _replies(items: Sequence[Item]) -> list[Reply]:
    return [item.reply for item in items if item.reply is not None]


def _score(metric: str, items: Sequence[Item]) -> Interval | None:
    return interval([item.scores[metric] for item in items if metric in item.scores])


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None
