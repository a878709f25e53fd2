"""Differences between arms on the same items, and what they support. All those on one task are one family (Holm)."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from eval.contest import Contest
from eval.sample import Sample, Samples, gap
from eval.statistics import Compared, Interval, in_family
from eval.suite import Comparison, Suite


class Difference(BaseModel):
    """One arm over another, turned so that a plus is better; `left_out` examples had no score from one of them.

    `p` is of the `test` alone, `adjusted` by Holm over all that is told about the task. `detectable` is the least true
    difference that so many items find four times in five among as many comparisons, None of a single document;
    `more_items` about how many more would tell, where it is a tie. All are None where no item was answered by both.
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


def asked(suite: Suite, on: Contest, samples: Samples) -> list[Difference]:
    """The differences asked for on the task."""
    return [_of(each, on, samples) for each in suite.comparisons if each.task == on.task.name]


def gaps(on: Contest, samples: Samples) -> list[Difference]:
    """Those of every other candidate to the one that scores best."""
    if on.leader is None:
        return []
    others = [arm for arm in on.candidates if arm != on.leader]
    metric, name = on.task.headline, on.task.name
    return [_of(Comparison(task=name, metric=metric, arm=arm, over=on.leader), on, samples) for arm in others]


def measured(asked: Comparison, first: Sample, second: Sample, matters: float = 0.0) -> Measured:
    """The difference on the examples both samples have a score for."""
    return Measured(asked, gap(first, second, asked.metric, matters), len(first.examples | second.examples))


def judged(found: Sequence[Measured]) -> list[Difference]:
    """The differences of one family, each told by its adjusted p."""
    told = iter(in_family([each.compared for each in found if each.compared]))
    return [_judged(each, next(told) if each.compared else None) for each in found]


def _of(asked: Comparison, on: Contest, samples: Samples) -> Difference:
    """Within a run: what only one of them was asked, as the suite had it, is not left out."""
    parts = samples.part(asked.arm, asked.task), samples.part(asked.over, asked.task)
    told = on.told.get((asked.metric, asked.arm, asked.over))
    return _judged(Measured(asked, told, len(parts[0].examples & parts[1].examples)), told)


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
