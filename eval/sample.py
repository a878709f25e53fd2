"""The items that a figure is made of: those of one arm on one task, or on one slice of it.

What is asked repeatedly counts once: the repeats of an example are averaged before anything is computed of it.
"""

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from eval.metrics import METRICS
from eval.runfile import Item, Reply
from eval.statistics import Compared, Interval, compared, interval
from eval.whole import compared_whole, figure_of, score_whole
from ragtune.examples import UNANSWERABLE

ENOUGH = 0.95  # of what was asked: who has a score of less is no candidate, and passes no gate


@dataclass(frozen=True)
class Sample:
    """Items of one arm, in the order of their examples and repeats, whatever order they were answered in."""

    items: tuple[Item, ...]

    def __bool__(self) -> bool:
        return bool(self.items)

    @property
    def replies(self) -> list[Reply]:
        """What was answered; failures left out."""
        return [item.reply for item in self.items if item.reply is not None]

    @property
    def loaded(self) -> list[Reply]:
        """What was answered in this run beside others: what its timings under load are of."""
        items = (item for item in self.items if not (item.alone or item.warm_up or item.reused))
        return [item.reply for item in items if item.reply is not None]

    @property
    def alone(self) -> list[Reply]:
        """What was answered in this run while nothing else was asked."""
        items = (item for item in self.items if item.alone and not item.reused)
        return [item.reply for item in items if item.reply is not None]

    @property
    def failed(self) -> int:
        """Items without an answer."""
        return sum(item.error is not None for item in self.items)

    @property
    def examples(self) -> set[str]:
        """What was asked, answered or not."""
        return {item.example for item in self.items}

    def scored(self, metric: str) -> int:
        """How many items have a score by the metric: of every repeat, as failed ones count."""
        whole = METRICS[metric].whole is not None
        return sum(item.reply is not None if whole else metric in item.scores for item in self.items)

    def short(self, metric: str) -> str | None:
        """Why too few of the items have a score to speak of; None if ENOUGH of what was asked do."""
        scored, asked = self.scored(metric), len(self.items)
        if scored >= ENOUGH * asked:
            return None
        return f"it has a score of {scored or 'none'} of its {asked} questions, and {100 * ENOUGH:g} % are needed"

    @property
    def parsable(self) -> "Sample":
        """The items but those whose answer could not be read."""
        return Sample(tuple(item for item in self.items if not item.unparsable))

    def of(self, examples: Collection[str]) -> "Sample":
        """The items of these examples."""
        return Sample(tuple(item for item in self.items if item.example in examples))

    def has(self, metric: str) -> set[str]:
        """The examples that count in the score by the metric."""
        whole = METRICS[metric].whole is not None
        return {item.example for item in self.items if (item.reply is not None if whole else metric in item.scores)}

    def values(self, metric: str) -> dict[str, float]:
        """The score of each example, the mean of its repeats; examples without one are left out."""
        return {example: statistics.fmean(scores) for example, scores in self.repeats(metric).items()}

    def repeats(self, metric: str) -> dict[str, list[float]]:
        """The scores of each example, one a repeat that has one."""
        found: dict[str, list[float]] = {}
        for item in self.items:
            if metric in item.scores:
                found.setdefault(item.example, []).append(item.scores[metric])
        return found

    @property
    def clusters(self) -> dict[str, str]:
        """What each example shares with others that are not independent of it."""
        return {item.example: item.cluster or item.example for item in self.items}

    def score(self, metric: str) -> Interval | None:
        """The mean by the metric with its clustered interval, or the figure of all items where the metric has one."""
        whole = METRICS[metric].whole
        if whole is not None:
            return score_whole([item for item in self.items if item.reply is not None], whole)
        return self.mean(self.values(metric))

    def figure(self, metric: str) -> float | None:
        """What `score` is the interval of, alone."""
        whole = METRICS[metric].whole
        if whole is not None:
            return figure_of([item for item in self.items if item.reply is not None], whole)
        values = self.values(metric)
        return statistics.fmean(values.values()) if values else None

    def mean(self, values: dict[str, float]) -> Interval | None:
        """The mean of some value of each example, with its clustered interval."""
        clusters = self.clusters
        return interval(list(values.values()), [clusters[example] for example in values])

    def retrieved_gold(self) -> Interval | None:
        """How often the gold document was among the passages; None where nothing is retrieved or none is named."""
        found: dict[str, list[float]] = {}
        for item in self.items:
            if item.gold_retrieved is not None:
                found.setdefault(item.example, []).append(float(item.gold_retrieved))
        return self.mean({example: statistics.fmean(shares) for example, shares in found.items()})


class Samples:
    """A run's items, by arm, task and slice."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._groups: dict[tuple[str, str], list[Item]] = {}
        for item in sorted(items, key=lambda item: (item.example, item.repeat)):
            self._groups.setdefault((item.arm, item.task), []).append(item)

    def whole(self, arm: str, task: str | None = None) -> Sample:
        """All that an arm was asked of a task; of every task without one."""
        groups = (group for (name, of), group in self._groups.items() if name == arm and task in (of, None))
        return Sample(tuple(item for group in groups for item in group))

    def part(self, arm: str, task: str, name: str = "") -> Sample:
        """The items of one slice; without a name those of a task's score, which are all that can be answered."""
        items = self._groups.get((arm, task), ())
        return Sample(tuple(item for item in items if (item.slice == name if name else item.slice != UNANSWERABLE)))

    def slices(self, arm: str, task: str) -> list[str]:
        """The names of the slices an arm was asked, sorted."""
        return sorted({item.slice for item in self._groups.get((arm, task), ()) if item.slice})


def gap(first: Sample, second: Sample, metric: str, matters: float = 0.0) -> Compared | None:
    """The paired difference on the examples both have; turned so that a plus is better for the first."""
    sign, whole = -1.0 if METRICS[metric].lower_is_better else 1.0, METRICS[metric].whole
    if whole is not None:
        return compared_whole(_pairs(first, second), whole, sign, matters)
    return compared(
        {example: sign * value for example, value in first.values(metric).items()},
        {example: sign * value for example, value in second.values(metric).items()},
        second.clusters | first.clusters,
        matters=matters,
    )


def _pairs(first: Sample, second: Sample) -> list[tuple[Item, Item]]:
    """What both answered, repeat by repeat."""
    answers = {(item.example, item.repeat): item for item in second.items if item.reply is not None}
    return [
        (item, answers[item.example, item.repeat])
        for item in first.items
        if item.reply is not None and (item.example, item.repeat) in answers
    ]


def failures(items: Sequence[Item]) -> dict[str, int]:
    """Reasons for having no answer, the most frequent first."""
    counted = Counter(item.error for item in items if item.error)
    return dict(sorted(counted.items(), key=lambda found: (-found[1], found[0])))
