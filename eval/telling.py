"""The examples that tell the arms apart, with what every arm answered: figures alone convince nobody."""

import statistics
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from eval.runfile import Item, Run
from eval.suite import Task


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Said(_Frozen):
    """What one arm answered to an example, and its score by the primary metric."""

    arm: str
    text: str
    score: float
    gold_retrieved: bool | None


class Showcase(_Frozen):
    """One example with every arm's answer."""

    task: str
    metric: str
    example: str
    query: str
    answers: tuple[str, ...]
    said: tuple[Said, ...]


def telling(run: Run, count: int) -> list[Showcase]:
    """The `count` examples on which the arms differ most, tasks in turn, each with the answer of every arm."""
    arms = [arm.name for arm in run.header.suite.arms]
    ranked = [_ranked(task, run.items, arms) for task in run.header.suite.tasks]
    longest = max((len(showcases) for showcases in ranked), default=0)
    in_turn = [showcases[place] for place in range(longest) for showcases in ranked if place < len(showcases)]
    return in_turn[:count]


def _ranked(task: Task, items: Sequence[Item], order: Sequence[str]) -> list[Showcase]:
    """The examples that all arms of the task answered, those with the widest spread of scores first.

    Items come in the order they were answered, which is another one in every run; what is shown must not depend on it.
    """
    arms = {item.arm for item in items if item.task == task.name}
    groups: dict[str, list[Item]] = {}
    for item in items:
        if item.task == task.name and task.headline in item.scores and not item.slice:
            groups.setdefault(item.example, []).append(item)
    whole = [
        sorted(group, key=lambda item: order.index(item.arm)) for group in groups.values() if len(group) == len(arms)
    ]
    whole.sort(
        key=lambda group: (-statistics.pvariance([item.scores[task.headline] for item in group]), group[0].example)
    )
    return [_showcase(task, group) for group in whole]


def _showcase(task: Task, group: Sequence[Item]) -> Showcase:
    first = group[0]
    said = tuple(
        Said(arm=item.arm, text=item.reply.text, score=item.scores[task.headline], gold_retrieved=item.gold_retrieved)
        for item in group
        if item.reply
    )
    return Showcase(
        task=task.name,
        metric=task.headline,
        example=first.example,
        query=first.query,
        answers=first.answers,
        said=said,
    )
