"""Who is held against whom on a task: who may be chosen at all, who scores best, and every comparison that is told.

All that is told about a task is one family (Holm): the differences asked for, and those of every candidate to the best.
What the controls show is a family of its own (eval/ladder.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.metrics import METRICS
from eval.quality import is_candidate
from eval.sample import Sample, Samples, gap
from eval.statistics import Compared, in_family
from eval.suite import Suite, Task
from eval.verdict import Costs, excluded

Pairing = tuple[str, str, str]
"""By which metric which arm is held against which other one."""


@dataclass(frozen=True)
class Contest:
    """`short` says by candidate why it has too few scores to be the best. `leader` scores best of the others, `best` of
    those that the budget allows, too; None if there is none. `told` is the family."""

    task: Task
    candidates: tuple[str, ...]
    short: Mapping[str, str]
    leader: str | None
    best: str | None
    told: Mapping[Pairing, Compared]

    def gap(self, arm: str, over: str | None) -> Compared | None:
        """The arm minus the other one by the primary metric; None if that was not told."""
        return self.told.get((self.task.headline, arm, over)) if over else None


def contest(suite: Suite, task: Task, samples: Samples, costs: Mapping[str, Costs]) -> Contest:
    """Everything told about the task; `costs` are the candidates'."""
    arms = [arm.name for arm in suite.arms if task in suite.asked(arm) and is_candidate(arm, task)]
    parts = {arm: samples.part(arm, task.name) for arm in arms}
    short = {arm: reason for arm, part in parts.items() if (reason := part.short(task.headline))}
    whole = [arm for arm in arms if arm not in short]
    out = excluded(costs, suite.budget)
    leader = best_of(task, {arm: parts[arm] for arm in whole})
    best = best_of(task, {arm: parts[arm] for arm in whole if arm not in out})
    asked = [(each.metric, each.arm, each.over) for each in suite.comparisons if each.task == task.name]
    gaps = [(task.headline, arm, over) for over in (leader, best) if over for arm in arms if arm != over]
    return Contest(task, tuple(arms), short, leader, best, _told(task, [*asked, *gaps], samples, suite.tolerance / 100))


def best_of(task: Task, parts: Mapping[str, Sample]) -> str | None:
    """The arm with the best score by the primary metric on the examples that all have a score of; of equals the first.

    Without common examples on those that each has.
    """
    metric = task.headline
    sign = -1.0 if METRICS[metric].lower_is_better else 1.0
    common = set.intersection(*(part.has(metric) for part in parts.values())) if parts else set()
    figures = {arm: (part.of(common) if common else part).figure(metric) for arm, part in parts.items()}
    scores = {arm: sign * score for arm, score in figures.items() if score is not None}
    return max(scores, key=lambda arm: scores[arm]) if scores else None


def _told(task: Task, pairings: Sequence[Pairing], samples: Samples, matters: float) -> dict[Pairing, Compared]:
    """Each once, whoever wants to know it."""
    found = dict(_compared(task, dict.fromkeys(pairings), samples, matters))
    return dict(zip(found, in_family(list(found.values())), strict=True))


def _compared(
    task: Task, pairings: Iterable[Pairing], samples: Samples, matters: float
) -> Iterable[tuple[Pairing, Compared]]:
    for metric, arm, over in pairings:
        compared = gap(samples.part(arm, task.name), samples.part(over, task.name), metric, matters)
        if compared is not None:
            yield (metric, arm, over), compared
