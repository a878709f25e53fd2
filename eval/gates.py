"""Gates: bars for the lower bound of an arm's interval. What is unknown, or was not measured, or on too few of the
questions asked, does not pass."""

from pydantic import BaseModel, ConfigDict

from eval.metrics import METRICS
from eval.sample import Samples
from eval.statistics import Interval
from eval.suite import Gate, Suite, Task
from ragtune.errors import UnknownName
from ragtune.examples import UNANSWERABLE


class GateResult(BaseModel):
    """How a gate came out. `by` is how far the lower bound is above the bar, in points; below it if negative.

    `reason` says why nothing was measured, or not enough.
    """

    model_config = ConfigDict(frozen=True)

    gate: Gate
    metric: str | None
    found: Interval | None
    by: float | None
    passed: bool
    reason: str | None = None


def gates(suite: Suite, samples: Samples) -> tuple[GateResult, ...]:
    """Every gate of the suite, in its order."""
    return tuple(_result(gate, suite, samples) for gate in suite.gates)


def _result(gate: Gate, suite: Suite, samples: Samples) -> GateResult:
    tasks = {task.name: task for task in suite.tasks}
    arms = [arm.name for arm in suite.arms]
    if gate.task not in tasks:
        return _unmeasured(gate, None, UnknownName.among("task", gate.task, tasks).message)
    if gate.arm not in arms:
        return _unmeasured(gate, None, UnknownName.among("arm", gate.arm, arms).message)
    metric = _metric(gate, tasks[gate.task])
    if metric not in METRICS:
        return _unmeasured(gate, metric, UnknownName.among("metric", metric, METRICS).message)
    if METRICS[metric].unit != "share" or METRICS[metric].lower_is_better:
        return _unmeasured(gate, metric, f"{metric} is no share of 100 points that is better when higher")
    known = samples.slices(gate.arm, gate.task)
    if gate.slice and gate.slice not in known:
        return _unmeasured(gate, metric, UnknownName.among("slice", gate.slice, known).message)
    sample = samples.part(gate.arm, gate.task, gate.slice or "")
    found, short = sample.score(metric), sample.short(metric)
    if found is None:
        return _unmeasured(gate, metric, "no item has a score")
    by = 100 * found.low - gate.least
    return GateResult(gate=gate, metric=metric, found=found, by=by, passed=by >= 0 and not short, reason=short)


def _metric(gate: Gate, task: Task) -> str:
    return gate.metric or ("abstention" if gate.slice == UNANSWERABLE else task.headline)


def _unmeasured(gate: Gate, metric: str | None, reason: str) -> GateResult:
    return GateResult(gate=gate, metric=metric, found=None, by=None, passed=False, reason=reason)
