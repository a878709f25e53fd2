"""How far the judge of a task agrees with another metric of it: a judge nobody checked is an opinion."""

from pydantic import BaseModel, ConfigDict

from eval.judge import Agreement, agreement
from eval.metrics import METRICS
from eval.sample import Samples
from eval.suite import Suite, Task

_JUDGE = "judge"


class Judged(BaseModel):
    """The agreement on a task, over the answers of all arms, with its `reference`; None where no item has both."""

    model_config = ConfigDict(frozen=True)

    task: str
    reference: str
    found: Agreement | None


def agreements(suite: Suite, samples: Samples) -> tuple[Judged, ...]:
    """One of every task that is judged and has another share as metric."""
    known = [(task, reference) for task in suite.tasks if (reference := _reference(task))]
    return tuple(Judged(task=task.name, reference=by, found=_of(suite, task, by, samples)) for task, by in known)


def _reference(task: Task) -> str | None:
    """The primary metric, else the first other one that is a share and has a score of every item."""
    if _JUDGE not in task.metrics:
        return None
    others = [task.headline, *task.metrics]
    fit = [name for name in others if name != _JUDGE and METRICS[name].unit == "share" and not METRICS[name].whole]
    return fit[0] if fit else None


def _of(suite: Suite, task: Task, reference: str, samples: Samples) -> Agreement | None:
    items = [
        item
        for arm in suite.arms
        for item in samples.part(arm.name, task.name).items
        if _JUDGE in item.scores and reference in item.scores
    ]
    return agreement([item.scores[_JUDGE] for item in items], [item.scores[reference] for item in items])
