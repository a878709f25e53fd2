"""The suite a bake-off asks: a plain file, to be run again by `ragtune eval run` or changed by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ragtune.bakeoff.arms import Arm
from ragtune.bakeoff.plan import ALONE
from ragtune.bakeoff.task import Task
from ragtune.bakeoff.toml import Value, written

Comparison = Mapping[str, str | float]
_ABOUT = """Every arm of the bake-off on the held-out questions. What was not made for a task is asked a part of it.
Run it again:  ragtune eval run suite.toml --out again"""
TIMEOUT = 110  # seconds of one request, below the service's own deadline


def suite(
    name: str,
    tasks: Sequence[Task],
    arms: Sequence[Arm],
    *,
    items: int,
    concurrency: int,
    trained_on: Sequence[Path],
    heldout: Mapping[str, Path],
    comparisons: Sequence[Comparison] = (),
) -> str:
    """The suite's text; `trained_on` and `heldout` (by task) are relative to where it will stand."""
    values: dict[str, Value] = {
        "name": name,
        "concurrency": concurrency,
        "alone": ALONE,
        "timeout": TIMEOUT,
        "trained_on": list(trained_on),
        "tasks": [_task(task, heldout[task.name], items) for task in tasks],
        "arms": [_arm(arm, tasks, items) for arm in arms],
    }
    if comparisons:
        values["comparisons"] = list(comparisons)
    return written(values, _ABOUT)


def _task(task: Task, heldout: Path, items: int) -> Mapping[str, Value]:
    return {
        "name": task.name,
        "examples": heldout,
        "metrics": list(task.metrics),
        "max_tokens": task.max_tokens,
        "limit": items,
    }


def _arm(arm: Arm, tasks: Sequence[Task], items: int) -> Mapping[str, Value]:
    values: dict[str, Value] = {"mode": arm.mode}
    if arm.label:
        values["label"] = arm.label
    if arm.context != "retrieved":
        values["context"] = arm.context
    if arm.instruction:
        values["instruction"] = arm.instruction
    asked = [task.name for task in tasks if task.name in arm.items]
    if len(asked) < len(tasks):
        values["tasks"] = asked
    if fewer := {task: count for task, count in arm.items.items() if count < items}:
        values["limits"] = fewer
    return values
