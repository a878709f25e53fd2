"""The examples that tell the arms apart, with what every arm answered: figures alone convince nobody."""

import statistics
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from eval.runfile import Item, Run, Shown
from eval.suite import Task


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Said(_Frozen):
    """What one arm answered to an example, and its score by the primary metric; or the `error` that it has none.

    With repeats it is the first answer beside the mean score of all.
    """

    arm: str
    text: str
    score: float | None
    gold_retrieved: bool | None
    passages: tuple[Shown, ...] = ()
    error: str | None = None


class Showcase(_Frozen):
    """One example with every arm's answer."""

    task: str
    metric: str
    example: str
    query: str
    answers: tuple[str, ...]
    said: tuple[Said, ...]


def telling(run: Run, count: int) -> list[Showcase]:
    """The `count` examples on which the arms differ most, tasks in turn, each with the answer of every arm asked."""
    arms = [arm.name for arm in run.header.suite.arms]
    ranked = [_ranked(task, run.items, arms) for task in run.header.suite.tasks]
    longest = max((len(groups) for _, groups in ranked), default=0)
    in_turn = [(task, groups[place]) for place in range(longest) for task, groups in ranked if place < len(groups)]
    return [_showcase(task, group, arms) for task, group in in_turn[:count]]


def _ranked(task: Task, items: Sequence[Item], order: Sequence[str]) -> tuple[Task, list[dict[str, list[Item]]]]:
    """The examples that at least two arms answered, those with the widest spread of scores first.

    Items come in the order they were answered, which is another one in every run; what is shown must not depend on it.
    """
    groups: dict[str, dict[str, list[Item]]] = {}
    for item in sorted(items, key=lambda item: (order.index(item.arm), item.repeat)):
        if item.task == task.name and not item.slice:
            groups.setdefault(item.example, {}).setdefault(item.arm, []).append(item)
    spread = {example: _spread(group, task.headline) for example, group in groups.items()}
    told = sorted((example for example in groups if spread[example] is not None), key=lambda e: (-(spread[e] or 0), e))
    return task, [groups[example] for example in told]


def _spread(group: Mapping[str, Sequence[Item]], metric: str) -> float | None:
    """The sum of squared distances of the arms' scores from their mean: more arms that differ tell more."""
    scores = [score for items in group.values() if (score := _score(items, metric)) is not None]
    return statistics.pvariance(scores) * len(scores) if len(scores) > 1 else None


def _showcase(task: Task, group: Mapping[str, Sequence[Item]], order: Sequence[str]) -> Showcase:
    first = next(iter(group.values()))[0]
    return Showcase(
        task=task.name,
        metric=task.headline,
        example=first.example,
        query=first.query,
        answers=first.answers,
        said=tuple(_said(arm, group[arm], task.headline) for arm in order if arm in group),
    )


def _said(arm: str, items: Sequence[Item], metric: str) -> Said:
    shown = next((item for item in items if item.reply is not None), items[0])
    return Said(
        arm=arm,
        text=shown.reply.text if shown.reply else "",
        score=_score(items, metric),
        gold_retrieved=shown.gold_retrieved,
        passages=shown.reply.passages if shown.reply else (),
        error=shown.error,
    )


def _score(items: Sequence[Item], metric: str) -> float | None:
    scores = [item.scores[metric] for item in items if metric in item.scores]
    return statistics.fmean(scores) if scores else None
