"""One arm on one task: what it scores, where it abstains, and what was no proper answer."""

import statistics

from pydantic import BaseModel, ConfigDict

from eval.costs import Cost
from eval.metrics import METRICS
from eval.metrics.abstention import coverage, wrong_when_answered
from eval.sample import Sample, Samples
from eval.statistics import Interval, Split, split
from eval.suite import Arm, Suite, Task
from ragtune.examples import UNANSWERABLE


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class SliceResult(_Frozen):
    """Items that are reported apart: the unanswerable ones by abstention, others by the task's primary metric."""

    metric: str
    score: Interval | None
    failed: int


class TaskResult(_Frozen):
    """One arm on one task. `scores` are over the items of no slice, failures left out.

    `candidate`: it could be chosen; controls and arms that were asked a part of the task could not. `leading`: the best
    candidate on the primary metric, or not told apart from the best. `abstained` is on answerable items, where it is
    wrong; `gave_answer` is the share of all items, unanswerable ones included, on which it did not abstain, and
    `wrong_when_answered` is over these; all three are None if the task has no unanswerable ones. `scored` have a score
    by the primary metric, `unscored` an answer and no score. An `unparsable` answer counts as wrong; `where_parsable`
    is the score by the primary metric without those, None where there are none. These, `answered` and `failed` are of
    no slice, every repeat counted. `split` is the variance of the primary metric, where there are repeats.
    """

    scores: dict[str, Interval]
    candidate: bool
    leading: bool
    abstained: Interval | None
    wrong_when_answered: Interval | None
    gave_answer: float | None
    slices: dict[str, SliceResult]
    gold_retrieved: Interval | None
    scored: int
    answered: int
    failed: int
    unparsable: int
    where_parsable: Interval | None
    unscored: int
    cut_off: int
    split: Split | None
    cost: Cost

    @property
    def asked(self) -> int:
        """Items of no slice, every repeat."""
        return self.answered + self.failed

    @property
    def coverage(self) -> float:
        """The share of what was asked that has a score by the primary metric, every repeat counted."""
        return self.scored / self.asked if self.asked else 0.0


def task_result(suite: Suite, task: Task, arm: Arm, samples: Samples, cost: Cost, *, leading: bool) -> TaskResult:
    """The result of an arm that was asked the task; `cost` is that of its answers to it."""
    main, whole = samples.part(arm.name, task.name), samples.whole(arm.name, task.name)
    replies = main.replies
    known = UNANSWERABLE in samples.slices(arm.name, task.name)
    return TaskResult(
        scores={metric: found for metric in task.metrics if (found := main.score(metric)) is not None},
        candidate=is_candidate(arm, task),
        leading=leading,
        abstained=main.score("abstention") if known else None,
        wrong_when_answered=_wrong_when_answered(whole, task.headline) if known else None,
        gave_answer=coverage(whole.items) if known else None,
        slices={
            name: _slice(task, name, samples.part(arm.name, task.name, name))
            for name in samples.slices(arm.name, task.name)
        },
        gold_retrieved=main.retrieved_gold(),
        scored=main.scored(task.headline),
        answered=len(replies),
        failed=main.failed,
        unparsable=sum(item.unparsable for item in main.items),
        where_parsable=_where_parsable(main, task.headline),
        unscored=_unscored(main, task.headline),
        cut_off=sum(reply.finish_reason == "length" for reply in replies),
        split=split(main.repeats(task.headline)) if len(suite.seeds) > 1 and main.repeats(task.headline) else None,
        cost=cost,
    )


def is_candidate(arm: Arm, task: Task) -> bool:
    """Controls are given or told what nobody gives at serving time; who was asked a part was asked other questions."""
    return not arm.is_control and task.name not in arm.limits


def _slice(task: Task, name: str, sample: Sample) -> SliceResult:
    metric = "abstention" if name == UNANSWERABLE else task.headline
    return SliceResult(metric=metric, score=sample.score(metric), failed=sample.failed)


def _where_parsable(sample: Sample, metric: str) -> Interval | None:
    return sample.parsable.score(metric) if any(item.unparsable for item in sample.items) else None


def _unscored(sample: Sample, metric: str) -> int:
    if METRICS[metric].whole is not None:
        return 0
    return sum(item.reply is not None and metric not in item.scores for item in sample.items)


def _wrong_when_answered(sample: Sample, metric: str) -> Interval | None:
    if METRICS[metric].unit != "share":
        return None
    found: dict[str, list[float]] = {}
    for item in sample.items:
        if (wrong := wrong_when_answered([item], metric)) is not None:
            found.setdefault(item.example, []).append(wrong)
    return sample.mean({example: statistics.fmean(wrong) for example, wrong in found.items()})
