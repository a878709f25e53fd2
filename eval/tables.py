"""The tables of a report, as plain values: the terminal and Markdown only draw them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.report import ArmResult, Difference, Latency, Report, TaskResult
from eval.statistics import Interval
from eval.suite import Task
from ragtune.examples import UNANSWERABLE

NOTHING = "–"
_ALONE = ("first token", "ms, alone", "p50 / p95")


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table: `text`, in the second place `aside`, and whether it deserves the eye."""

    text: str
    aside: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A heading of one or more lines, and the cells below it; `words` are aligned left, numbers right."""

    heading: tuple[str, ...]
    cells: tuple[Cell, ...]
    words: bool = False


@dataclass(frozen=True)
class Table:
    """A title and columns of equal length."""

    title: str
    columns: tuple[Column, ...]


def summary(report: Report) -> Table:
    """One row an arm: the primary metric of each task, abstention, and what it costs."""
    arms = report.arms
    columns = [_names(arms)]
    for task in report.tasks:
        n = max((found.n for result in _results(arms, task) if (found := result.scores.get(task.headline))), default=0)
        heading = (task.name, metric_words(task.headline), f"n = {n}")
        columns.append(_of_task(arms, task, heading, _metric(task.headline, n)))
        columns += _slices(arms, task)
    columns += [
        _of_arm(arms, _ALONE, lambda arm: _latency(arm.alone)),
        _of_arm(arms, ("prompt", "tokens", "(cached)"), _prompt),
        _of_arm(arms, ("training",), _training),
    ]
    if any(arm.failed or _unparsable(arm) for arm in arms):
        failed = ("failed /", "no JSON")
        columns.append(_of_arm(arms, failed, lambda arm: Cell(str(arm.failed), f"/ {_unparsable(arm)}")))
    return Table(f"{report.header.suite.name}: every mode on the same questions", tuple(columns))


def quality(report: Report, task: Task) -> Table:
    """One row an arm for one task: every metric, every slice, retrieval, and what was no proper answer."""
    arms = [arm for arm in report.arms if task.name in arm.tasks]
    columns = [_names(arms)]
    for metric in task.metrics:
        columns.append(_of_task(arms, task, (metric_words(metric),), _metric(metric)))
    columns += _slices(arms, task)
    if any(result.gold_retrieved for result in _results(arms, task)):
        columns.append(_of_task(arms, task, ("gold", "retrieved"), lambda result: _percent(result.gold_retrieved)))
    columns += [
        _of_task(arms, task, ("items",), lambda result: Cell(str(result.answered))),
        _of_task(arms, task, ("cut", "off"), lambda result: Cell(str(result.cut_off))),
        _of_task(arms, task, ("no", "JSON"), lambda result: Cell(str(result.unparsable))),
        _of_task(arms, task, ("failed",), lambda result: Cell(str(result.failed))),
    ]
    return Table(f"{task.name}: every metric", tuple(columns))


def costs(report: Report) -> Table:
    """One row an arm: times and tokens, over all it was asked."""
    arms = report.arms
    loaded = ("first token", f"ms, {report.header.suite.concurrency} at once", "p50 / p95")
    columns = (
        _names(arms),
        _of_arm(arms, _ALONE, lambda arm: _latency(arm.alone)),
        _of_arm(arms, loaded, lambda arm: _latency(arm.cost.loaded)),
        _of_arm(arms, ("prompt", "tokens"), lambda arm: _number(arm.cost.prompt_tokens)),
        _of_arm(arms, ("cached", "tokens"), lambda arm: _number(arm.cost.cached_tokens)),
        _of_arm(arms, ("new", "tokens"), lambda arm: _number(arm.cost.completion_tokens)),
        _of_arm(arms, ("training",), _training),
        _of_arm(arms, ("retries",), lambda arm: Cell(str(arm.retries))),
    )
    return Table("What answers cost", columns)


def differences(report: Report) -> Table:
    """One row a comparison."""
    found = report.differences

    def column(heading: str, fill: Callable[[Difference], Cell], words: bool = False) -> Column:
        return Column((heading,), tuple(fill(difference) for difference in found), words)

    return Table(
        "Differences on the same items, in points",
        (
            column("arm over arm", lambda d: Cell(f"{d.asked.arm} over {d.asked.over}"), words=True),
            column("on", lambda d: Cell(f"{d.asked.task} {metric_words(d.asked.metric)}"), words=True),
            column("difference [95 %]", lambda d: _gap(d.difference)),
            column("items", lambda d: Cell(str(d.difference.n if d.difference else 0))),
            column("asked for", lambda d: Cell(f"> {d.asked.margin:g}")),
            column("reached", _reached, words=True),
        ),
    )


def metric_words(metric: str) -> str:
    """A metric's name as people write it."""
    return metric.replace("_", " ").replace(" f1", " F1").replace("json", "JSON")


def _names(arms: Sequence[ArmResult]) -> Column:
    return Column(("mode",), tuple(Cell(arm.name) for arm in arms), words=True)


def _of_arm(arms: Sequence[ArmResult], heading: tuple[str, ...], fill: Callable[[ArmResult], Cell]) -> Column:
    return Column(heading, tuple(fill(arm) for arm in arms))


def _of_task(
    arms: Sequence[ArmResult], task: Task, heading: tuple[str, ...], fill: Callable[[TaskResult], Cell]
) -> Column:
    results = (arm.tasks.get(task.name) for arm in arms)
    return Column(heading, tuple(Cell(NOTHING) if result is None else fill(result) for result in results))


def _slices(arms: Sequence[ArmResult], task: Task) -> list[Column]:
    """What is reported apart: the unanswerable items beside the answerable ones, other slices by their score."""
    names = sorted({name for result in _results(arms, task) for name in result.slices})
    return [
        _of_task(arms, task, ("abstains", "rightly /", "wrongly"), _abstention)
        if name == UNANSWERABLE
        else _of_task(arms, task, (task.name, name), _of_slice(name))
        for name in names
    ]


def _results(arms: Sequence[ArmResult], task: Task) -> list[TaskResult]:
    return [arm.tasks[task.name] for arm in arms if task.name in arm.tasks]


def _metric(name: str, n: int | None = None) -> Callable[[TaskResult], Cell]:
    """With `n`, the items most arms were asked: the best are marked, and who was asked fewer says so."""

    def cell(result: TaskResult) -> Cell:
        found = result.scores.get(name)
        shown = _score(found, strong=n is not None and result.leading)
        if found is None or n is None or found.n >= 0.9 * n:
            return shown
        return Cell(shown.text, f"{shown.aside} n = {found.n}", shown.strong)

    return cell


def _of_slice(name: str) -> Callable[[TaskResult], Cell]:
    return lambda result: _score(result.slices[name].score) if name in result.slices else Cell(NOTHING)


def _abstention(result: TaskResult) -> Cell:
    rightly = result.slices[UNANSWERABLE].score if UNANSWERABLE in result.slices else None
    return Cell(_percent(rightly).text.removesuffix(" %"), f"/ {_percent(result.abstained).text}")


def _score(found: Interval | None, strong: bool = False) -> Cell:
    if found is None:
        return Cell(NOTHING)
    return Cell(f"{100 * found.mean:.0f}", f"[{100 * found.low:.0f}, {100 * found.high:.0f}]", strong)


def _percent(found: Interval | None) -> Cell:
    return Cell(NOTHING if found is None else f"{100 * found.mean:.0f} %")


def _gap(found: Interval | None) -> Cell:
    if found is None:
        return Cell(NOTHING)
    return Cell(f"{100 * found.mean:+.1f}", f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]")


def _reached(difference: Difference) -> Cell:
    return Cell("yes", strong=True) if difference.reached else Cell("no", f"({difference.verdict})")


def _latency(found: Latency | None) -> Cell:
    return Cell(NOTHING) if found is None else Cell(f"{found.median:.0f}", f"/ {found.p95:.0f}")


def _number(value: float | None) -> Cell:
    return Cell(NOTHING if value is None else f"{value:.0f}")


def _prompt(arm: ArmResult) -> Cell:
    cost = arm.cost
    if cost.prompt_tokens is None or cost.cached_tokens is None:
        return Cell(NOTHING)
    return Cell(f"{cost.prompt_tokens:.0f}", f"({cost.cached_tokens:.0f})")


def _training(arm: ArmResult) -> Cell:
    if arm.training_seconds is None:
        return Cell("?", "not recorded")
    return Cell(f"{arm.training_seconds:.0f} s" if arm.training_seconds else NOTHING)


def _unparsable(arm: ArmResult) -> int:
    return sum(result.unparsable for result in arm.tasks.values())
