"""From a run to a report: a pure function of the run file. The same run always gives the same report."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from eval.costs import Cost, Once, cost, once
from eval.differences import Difference, best_of, family
from eval.effort import Audit, Effort, audit, effort
from eval.gates import GateResult, gates
from eval.ladder import Format, Ladder, formats, ladders
from eval.quality import TaskResult, task_result
from eval.runfile import Header, Reply, Run
from eval.sample import Samples, failures
from eval.suite import Arm, Suite, Task
from eval.verdict import Verdict
from eval.weighing import weighed


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArmResult(_Frozen):
    """One arm: quality by task, and what it costs. `training_seconds` is None where a training is not recorded.

    `versions` lists, for each part of the mode, every version that answered; more than one means it changed meanwhile.
    """

    name: str
    mode: str
    control: bool
    tasks: dict[str, TaskResult]
    cost: Cost
    once: Once
    training_seconds: float | None
    versions: dict[str, tuple[str, ...]]
    failed: int
    retries: int


class Report(_Frozen):
    """Everything shown. `verdicts` are by task, in the suite's order; see `weighed` for tasks without one.

    `differences` are those asked for, `gaps` those of every other candidate to the best of its task.
    """

    header: Header
    arms: tuple[ArmResult, ...]
    verdicts: tuple[Verdict, ...]
    differences: tuple[Difference, ...]
    gaps: tuple[Difference, ...]
    ladders: tuple[Ladder, ...]
    formats: tuple[Format, ...]
    audit: Audit
    gates: tuple[GateResult, ...]
    failures: dict[str, int]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the suite's order."""
        return self.header.suite.tasks

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)


def report(run: Run) -> Report:
    """The report of a run."""
    header, suite, samples = run.header, run.header.suite, Samples(run.items)
    best = {task.name: best_of(suite, task, samples) for task in suite.tasks}
    families = [family(suite, task, best[task.name], samples) for task in suite.tasks]
    gaps = tuple(gap for _, others in families for gap in others)
    arms = tuple(_arm(header, arm, samples, best, gaps) for arm in suite.arms)
    return Report(
        header=header,
        arms=arms,
        verdicts=tuple(found for task in suite.tasks if (found := _verdict(suite, task, arms, samples))),
        differences=tuple(difference for asked, _ in families for difference in asked),
        gaps=gaps,
        ladders=ladders(suite, samples),
        formats=formats(suite, samples),
        audit=audit(suite, [_effort(arm, found, samples) for arm, found in zip(suite.arms, arms, strict=True)]),
        gates=gates(suite, samples),
        failures=failures(run.items),
    )


def _arm(
    header: Header, arm: Arm, samples: Samples, best: Mapping[str, str | None], gaps: Sequence[Difference]
) -> ArmResult:
    whole, alone, paid = samples.whole(arm.name), header.alone.get(arm.name, ()), once(header, arm)
    level = {gap.asked.task for gap in gaps if gap.asked.arm == arm.name and gap.verdict in ("tie", "better")}
    return ArmResult(
        name=arm.name,
        mode=arm.mode or arm.name,
        control=arm.context != "retrieved",
        tasks={
            task.name: task_result(
                header.suite,
                task,
                arm,
                samples,
                alone,
                leading=arm.name == best[task.name] or task.name in level,
            )
            for task in header.suite.asked(arm)
        },
        cost=cost(header.suite, arm, whole, alone),
        once=paid,
        training_seconds=paid.training_seconds,
        versions=_versions(whole.replies),
        failed=whole.failed,
        retries=sum(item.retries for item in whole.items),
    )


def _verdict(suite: Suite, task: Task, arms: Sequence[ArmResult], samples: Samples) -> Verdict | None:
    results = {arm.name: (arm.tasks[task.name], arm.once) for arm in arms if task.name in arm.tasks}
    return weighed(suite, task, results, samples)


def _effort(arm: Arm, found: ArmResult, samples: Samples) -> Effort:
    asked = len(samples.whole(arm.name).items)
    return effort(arm, found.cost, found.once, asked, found.retries)


def _versions(replies: Sequence[Reply]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for reply in replies:
        for part, version in reply.versions.items():
            found.setdefault(part, set()).add(version)
    return {part: tuple(sorted(versions)) for part, versions in sorted(found.items())}
