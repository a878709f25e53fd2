"""From a run to a report: a pure function of the run file. The same run always gives the same report."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from eval.agreement import Judged, agreements
from eval.contest import Contest, contest
from eval.costs import Cost, Once, alone_on, cost, once
from eval.differences import Difference, asked, gaps
from eval.effort import Audit, Effort, audit, effort
from eval.gates import GateResult, gates
from eval.ladder import Format, Ladder, controls
from eval.quality import TaskResult, is_candidate, task_result
from eval.runfile import Header, Reply, Run
from eval.sample import Samples, failures
from eval.suite import Arm, Suite, Task
from eval.verdict import Costs, Verdict
from eval.weighing import costs_of, weighed


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

    `differences` are those asked for, `gaps` those of every other candidate to the best of its task. `efforts` are of
    all tasks together, `audits` by task; `agreements` are those of the judge, where one judged.
    """

    header: Header
    arms: tuple[ArmResult, ...]
    verdicts: tuple[Verdict, ...]
    differences: tuple[Difference, ...]
    gaps: tuple[Difference, ...]
    ladders: tuple[Ladder, ...]
    formats: tuple[Format, ...]
    efforts: tuple[Effort, ...]
    audits: tuple[Audit, ...]
    agreements: tuple[Judged, ...]
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
    paid = {arm.name: once(header, arm) for arm in suite.arms}
    spent = {
        (arm.name, task.name): _spent(header, arm, task, samples) for arm in suite.arms for task in suite.asked(arm)
    }
    costs = {(arm, task): costs_of(cost, paid[arm]) for (arm, task), cost in spent.items()}
    contests = [
        contest(suite, task, samples, {arm: known for (arm, of), known in costs.items() if of == task.name})
        for task in suite.tasks
    ]
    arms = tuple(_arm(header, arm, samples, contests, spent) for arm in suite.arms)
    shown = controls(suite, samples)
    return Report(
        header=header,
        arms=arms,
        verdicts=tuple(found for on in contests if (found := _verdict(suite, on, arms, costs))),
        differences=tuple(each for on in contests for each in asked(suite, on, samples)),
        gaps=tuple(each for on in contests for each in gaps(on, samples)),
        ladders=shown.ladders,
        formats=shown.formats,
        efforts=tuple(_effort(arm, each, samples) for arm, each in zip(suite.arms, arms, strict=True)),
        audits=tuple(_audit(suite, task, arms, spent, samples) for task in suite.tasks),
        agreements=agreements(suite, samples),
        gates=gates(suite, samples),
        failures=failures(run.items),
    )


def _spent(header: Header, arm: Arm, task: Task, samples: Samples) -> Cost:
    """What the answers of an arm to a task took."""
    whole = samples.whole(arm.name, task.name)
    return cost(header.suite, arm, whole, alone_on(whole))


def _arm(
    header: Header,
    arm: Arm,
    samples: Samples,
    contests: Sequence[Contest],
    spent: Mapping[tuple[str, str], Cost],
) -> ArmResult:
    whole, paid = samples.whole(arm.name), once(header, arm)
    return ArmResult(
        name=arm.name,
        mode=arm.mode or arm.name,
        control=arm.is_control,
        tasks={
            on.task.name: task_result(
                header.suite, on.task, arm, samples, spent[arm.name, on.task.name], leading=_leading(arm, on)
            )
            for on in contests
            if on.task in header.suite.asked(arm)
        },
        cost=cost(header.suite, arm, whole, header.alone.get(arm.name, ())),
        once=paid,
        training_seconds=paid.training_seconds,
        versions=_versions(whole.replies),
        failed=whole.failed,
        retries=sum(item.retries for item in whole.items),
    )


def _leading(arm: Arm, on: Contest) -> bool:
    """Whether it scores best, or is not told apart from the best; too few answers lead nowhere."""
    if arm.name == on.leader:
        return True
    gap = on.gap(arm.name, on.leader)
    return arm.name not in on.short and gap is not None and gap.verdict != "worse"


def _verdict(
    suite: Suite, on: Contest, arms: Sequence[ArmResult], costs: Mapping[tuple[str, str], Costs]
) -> Verdict | None:
    name = on.task.name
    results = {arm.name: arm.tasks[name] for arm in arms if name in arm.tasks}
    return weighed(suite, on, results, {arm: costs[arm, name] for arm in results})


def _effort(arm: Arm, found: ArmResult, samples: Samples) -> Effort:
    return effort(arm, found.cost, found.once, len(samples.whole(arm.name).items), found.retries)


def _audit(
    suite: Suite, task: Task, arms: Sequence[ArmResult], spent: Mapping[tuple[str, str], Cost], samples: Samples
) -> Audit:
    """Of those that could be chosen."""
    efforts = []
    for arm, found in zip(suite.arms, arms, strict=True):
        if task.name in found.tasks and is_candidate(arm, task):
            items = samples.whole(arm.name, task.name).items
            retries = sum(item.retries for item in items)
            efforts.append(effort(arm, spent[arm.name, task.name], found.once, len(items), retries))
    return audit(suite, task, efforts)


def _versions(replies: Sequence[Reply]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for reply in replies:
        for part, version in reply.versions.items():
            found.setdefault(part, set()).add(version)
    return {part: tuple(sorted(versions)) for part, versions in sorted(found.items())}
