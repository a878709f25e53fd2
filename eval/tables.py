"""The tables of quality, differences and gates."""

from collections.abc import Callable, Sequence

from eval.differences import Difference
from eval.figures import (
    NOTHING,
    PRACTICAL,
    difference,
    difference_range,
    figure,
    metric_words,
    percent,
    pvalue,
    range_of,
)
from eval.gates import GateResult
from eval.quality import TaskResult
from eval.report import ArmResult, Report
from eval.statistics import Interval
from eval.suite import Task
from eval.table import ALONE, Cell, Column, Table, latency, names, of_arm, training
from ragtune.examples import UNANSWERABLE


def summary(report: Report) -> Table:
    """One row an arm: the primary metric of each task, abstention, and what it costs."""
    arms = report.arms
    columns = [names(arms)]
    for task in report.tasks:
        n = max((found.n for result in results(arms, task) if (found := result.scores.get(task.headline))), default=0)
        heading = (task.name, metric_words(task.headline), f"n = {n}")
        columns.append(_of_task(arms, task, heading, _metric(task.headline, n)))
        columns += _slices(arms, task)
    columns += [
        of_arm(arms, ALONE, lambda arm: latency(arm.cost.first_alone)),
        of_arm(arms, ("prompt", "tokens", "(cached)"), _prompt),
        of_arm(arms, ("training",), training),
    ]
    if any(arm.failed or _unparsable(arm) for arm in arms):
        failed = ("failed /", "unparsable")
        columns.append(of_arm(arms, failed, lambda arm: Cell(str(arm.failed), f"/ {_unparsable(arm)}")))
    return Table(f"{report.header.suite.name}: every mode on the same questions", tuple(columns))


def quality(report: Report, task: Task) -> Table:
    """One row an arm for one task: every metric, every slice, retrieval, and what was no proper answer."""
    arms = [arm for arm in report.arms if task.name in arm.tasks]
    found = results(arms, task)
    columns = [names(arms)]
    for metric in task.metrics:
        columns.append(_of_task(arms, task, (metric_words(metric),), _metric(metric)))
    columns += _slices(arms, task)
    if any(result.wrong_when_answered for result in found):
        wrong = ("wrong when", "answered")
        columns.append(_of_task(arms, task, wrong, _wrong))
    if any(result.gold_retrieved for result in found):
        columns.append(_of_task(arms, task, ("gold", "retrieved"), lambda result: Cell(percent(result.gold_retrieved))))
    if any(result.where_parsable for result in found):
        columns.append(_of_task(arms, task, ("where", "parsable"), _where_parsable(task.headline)))
    counts: list[tuple[tuple[str, ...], Callable[[TaskResult], int]]] = [
        (("items",), lambda result: result.answered),
        (("cut", "off"), lambda result: result.cut_off),
        (("un-", "parsable"), lambda result: result.unparsable),
        (("no", "score"), lambda result: result.unscored),
        (("failed",), lambda result: result.failed),
    ]
    columns += [_of_task(arms, task, heading, _counted(read)) for heading, read in counts if any(map(read, found))]
    return Table(f"{task.name}: every metric", tuple(columns))


def slices(report: Report, task: Task) -> Table:
    """One row an arm and one column a slice of the task, with intervals; abstention where nothing can be answered."""
    arms = [arm for arm in report.arms if task.name in arm.tasks and arm.tasks[task.name].slices]
    known = sorted({name for result in results(arms, task) for name in result.slices})
    columns = [names(arms)]
    for name in known:
        sizes = [found.score.n for result in results(arms, task) if (found := result.slices.get(name)) and found.score]
        about = "abstention" if name == UNANSWERABLE else metric_words(task.headline)
        columns.append(_of_task(arms, task, (name, about, f"n = {max(sizes, default=0)}"), _of_slice(name)))
    if UNANSWERABLE in known:
        columns.append(_of_task(arms, task, ("abstains", "wrongly"), lambda r: Cell(percent(r.abstained))))
        columns.append(_of_task(arms, task, ("wrong when", "answered"), _wrong))
    return Table(f"{task.name}: slices", tuple(columns))


def differences(found: Sequence[Difference], title: str = "Differences on the same items, in points") -> Table:
    """One row a comparison."""
    arms = _of_differences(found, "arm over arm", lambda d: Cell(f"{d.asked.arm} over {d.asked.over}"), words=True)
    on = _of_differences(found, "on", lambda d: Cell(f"{d.asked.task} {metric_words(d.asked.metric)}"), words=True)
    wanted = any(each.asked.margin for each in found)
    margins = [_of_differences(found, "asked for", lambda d: Cell(f"> {d.asked.margin:g}"))] if wanted else []
    return Table(title, (arms, on, *_told(found), *margins, *_judged(found)))


def against(found: Sequence[Difference], title: str) -> Table:
    """One row an arm, all held against the same one on the same task, which the title names."""
    arms = _of_differences(found, "mode", lambda d: Cell(d.asked.arm), words=True)
    return Table(title, (arms, *_told(found), *_judged(found)))


def _of_differences(
    found: Sequence[Difference], heading: str, fill: Callable[[Difference], Cell], words: bool = False
) -> Column:
    return Column((heading,), tuple(fill(each) for each in found), words)


def _told(found: Sequence[Difference]) -> list[Column]:
    return [
        _of_differences(found, "difference [95 %]", _gap),
        _of_differences(found, "p (Holm)", lambda d: Cell(NOTHING if d.adjusted is None else pvalue(d.adjusted))),
        _of_differences(found, "items", lambda d: Cell(str(d.difference.n if d.difference else 0))),
    ]


def _judged(found: Sequence[Difference]) -> list[Column]:
    return [
        _of_differences(found, "would find", _detectable),
        _of_differences(found, "verdict", _verdict, words=True),
    ]


def gate_table(found: Sequence[GateResult]) -> Table:
    """One row a gate: the bar, the lower bound, and by how much it passed or failed."""

    def column(heading: str, fill: Callable[[GateResult], Cell], words: bool = False) -> Column:
        return Column((heading,), tuple(fill(each) for each in found), words)

    return Table(
        "Gates, in points",
        (
            column("arm", lambda g: Cell(g.gate.arm), words=True),
            column("on", _gated, words=True),
            column("least", lambda g: Cell(f"{g.gate.least:g}")),
            column("score [95 %]", lambda g: _score(g.metric, g.found) if g.metric else Cell(NOTHING)),
            column("by", lambda g: Cell(NOTHING if g.by is None else f"{g.by:+.1f}")),
            column("gate", _passed, words=True),
        ),
    )


def results(arms: Sequence[ArmResult], task: Task) -> list[TaskResult]:
    """The results of the arms that were asked the task."""
    return [arm.tasks[task.name] for arm in arms if task.name in arm.tasks]


def _of_task(
    arms: Sequence[ArmResult], task: Task, heading: tuple[str, ...], fill: Callable[[TaskResult], Cell]
) -> Column:
    found = (arm.tasks.get(task.name) for arm in arms)
    return Column(heading, tuple(Cell(NOTHING) if result is None else fill(result) for result in found))


def _slices(arms: Sequence[ArmResult], task: Task) -> list[Column]:
    """What is reported apart: the unanswerable items beside the answerable ones, other slices by their score."""
    known = sorted({name for result in results(arms, task) for name in result.slices})
    return [
        _of_task(arms, task, ("abstains", "rightly /", "wrongly"), _abstention)
        if name == UNANSWERABLE
        else _of_task(arms, task, (task.name, name), _of_slice(name))
        for name in known
    ]


def _metric(name: str, n: int | None = None) -> Callable[[TaskResult], Cell]:
    """With `n`, the items most arms were asked: the best are marked, and who was asked fewer says so."""

    def cell(result: TaskResult) -> Cell:
        found = result.scores.get(name)
        shown = _score(name, found, strong=n is not None and result.leading)
        if found is None or n is None or found.n >= 0.9 * n:
            return shown
        return Cell(shown.text, f"{shown.aside} n = {found.n}", shown.strong)

    return cell


def _where_parsable(metric: str) -> Callable[[TaskResult], Cell]:
    return lambda result: _score(metric, result.where_parsable)


def _of_slice(name: str) -> Callable[[TaskResult], Cell]:
    def cell(result: TaskResult) -> Cell:
        found = result.slices.get(name)
        return _score(found.metric, found.score) if found else Cell(NOTHING)

    return cell


def _counted(read: Callable[[TaskResult], int]) -> Callable[[TaskResult], Cell]:
    return lambda result: Cell(str(read(result)))


def _abstention(result: TaskResult) -> Cell:
    rightly = result.slices[UNANSWERABLE].score if UNANSWERABLE in result.slices else None
    if rightly is None and result.abstained is None:
        return Cell(NOTHING)
    return Cell(percent(rightly).removesuffix(" %"), f"/ {percent(result.abstained)}")


def _wrong(result: TaskResult) -> Cell:
    """Never without how much was answered: fewer wrong answers are cheap with fewer answers."""
    answered = "" if result.gave_answer is None else f"of {100 * result.gave_answer:.0f} %"
    return Cell(percent(result.wrong_when_answered), answered)


def _score(metric: str, found: Interval | None, strong: bool = False) -> Cell:
    return Cell(NOTHING) if found is None else Cell(figure(metric, found.mean), range_of(metric, found), strong)


def _gap(found: Difference) -> Cell:
    if found.difference is None:
        return Cell(NOTHING)
    metric = found.asked.metric
    return Cell(difference(metric, found.difference.mean), difference_range(metric, found.difference))


def _verdict(found: Difference) -> Cell:
    asked = found.more_items or 0
    more = f"(about {asked:,} more items would tell)" if 0 < asked <= PRACTICAL else ""
    return Cell(found.verdict, more, strong=found.reached)


def _detectable(found: Difference) -> Cell:
    if found.detectable is None:
        return Cell(NOTHING)
    return Cell(difference(found.asked.metric, found.detectable).removeprefix("+"))


def _gated(found: GateResult) -> Cell:
    place = f"{found.gate.task}, {found.gate.slice}" if found.gate.slice else found.gate.task
    return Cell(f"{place} {metric_words(found.metric)}" if found.metric else place)


def _passed(found: GateResult) -> Cell:
    if found.passed:
        return Cell("passed")
    return Cell("failed", f"({found.reason})" if found.reason else "", strong=True)


def _prompt(arm: ArmResult) -> Cell:
    cost = arm.cost
    if cost.prompt_tokens is None:
        return Cell(NOTHING)
    return Cell(f"{cost.prompt_tokens:.0f}", "" if cost.cached_tokens is None else f"({cost.cached_tokens:.0f})")


def _unparsable(arm: ArmResult) -> int:
    return sum(result.unparsable for result in arm.tasks.values())
