"""Differences between arms on the same items, and what they support. All those on one task are one family (Holm)."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from eval.metrics import METRICS
from eval.quality import is_candidate
from eval.sample import Sample, Samples, gap
from eval.statistics import Compared, Interval, in_family
from eval.suite import Comparison, Suite, Task


class Difference(BaseModel):
    """One arm over another, turned so that a plus is better; `left_out` examples had no score from one of them.

    `p` is of the `test` alone, `adjusted` by Holm over all differences on the task. `detectable` is the least true
    difference that so many items find four times in five; `more_items` about how many more would tell, where it is a
    tie. All are None where no item was answered by both.
    """

    model_config = ConfigDict(frozen=True)

    asked: Comparison
    difference: Interval | None
    p: float | None
    adjusted: float | None
    test: str | None
    detectable: float | None
    more_items: int | None
    left_out: int
    reached: bool
    verdict: str


@dataclass(frozen=True)
class Measured:
    """A comparison with what came of it, on how many examples it could have been at most; not yet told."""

    asked: Comparison
    compared: Compared | None
    examples: int


def best_of(suite: Suite, task: Task, samples: Samples) -> str | None:
    """The candidate with the best score by the primary metric; of equals the first in the suite's order."""
    sign = -1.0 if METRICS[task.headline].lower_is_better else 1.0
    scores = {
        arm.name: sign * found.mean
        for arm in suite.arms
        if task in suite.asked(arm)
        and is_candidate(arm, task)
        and (found := samples.part(arm.name, task.name).score(task.headline)) is not None
    }
    return max(scores, key=lambda arm: scores[arm]) if scores else None


def family(suite: Suite, task: Task, best: str | None, samples: Samples) -> tuple[list[Difference], list[Difference]]:
    """The differences asked for on the task, and those of every other candidate to the best."""
    asked = [comparison for comparison in suite.comparisons if comparison.task == task.name]
    others = [
        Comparison(task=task.name, metric=task.headline, arm=arm.name, over=best)
        for arm in suite.arms
        if best and arm.name != best and task in suite.asked(arm) and is_candidate(arm, task)
    ]
    matters = suite.tolerance / 100
    found = judged([_measured(comparison, samples, matters) for comparison in (*asked, *others)])
    return found[: len(asked)], found[len(asked) :]


def measured(asked: Comparison, first: Sample, second: Sample, matters: float = 0.0) -> Measured:
    """The difference on the examples both samples have a score for."""
    return Measured(asked, gap(first, second, asked.metric, matters), len(first.examples | second.examples))


def judged(found: Sequence[Measured]) -> list[Difference]:
    """The differences of one family, each told by its adjusted p."""
    told = iter(in_family([each.compared for each in found if each.compared]))
    return [_judged(each, next(told) if each.compared else None) for each in found]


def _measured(asked: Comparison, samples: Samples, matters: float) -> Measured:
    return measured(asked, samples.part(asked.arm, asked.task), samples.part(asked.over, asked.task), matters)


def _judged(found: Measured, told: Compared | None) -> Difference:
    verdict = _verdict(told, found.asked.margin)
    return Difference(
        asked=found.asked,
        difference=told.difference if told else None,
        p=told.p if told else None,
        adjusted=told.adjusted if told else None,
        test=told.test if told else None,
        detectable=told.detectable if told else None,
        more_items=told.more_items if told else None,
        left_out=found.examples - (told.difference.n if told else 0),
        reached=verdict in ("reached", "better"),
        verdict=verdict,
    )


def _verdict(told: Compared | None, margin: float) -> str:
    if told is None:
        return "no item answered by both"
    if told.verdict != "better":
        return told.verdict
    if 100 * told.difference.low > margin:
        return "reached" if margin else "better"
    return "better, by less" if 100 * told.difference.high <= margin else "better, margin uncertain"
