"""A report for people: in a terminal, and as Markdown."""

from collections.abc import Sequence

from eval.report import ArmResult, Report, Showcase
from eval.statistics import Interval
from eval.suite import Task
from ragtune.terminal import print_table, results

Rows = Sequence[Sequence[str]]
_FOOT = (
    "Quality in points with its 95 % bootstrap interval over items; first token: median of requests that ran alone; "
    "prompt: mean tokens a request, and how many of them came from the prefix cache."
)


def show(report: Report, showcases: Sequence[Showcase]) -> None:
    """Print everything to the terminal."""
    print_table(*summary(report), title=f"{report.name}: every mode on the same questions")
    for task in report.tasks:
        columns, rows = details(report, task)
        print_table(columns, rows, title=f"\n{task.name}: all metrics")
    if report.differences:
        print_table(*differences(report), title="\ndifferences on the same items")
    for line in notes(report):
        results.print(line, markup=False, style="dim")
    for showcase in showcases:
        results.print(f"\n[bold]{showcase.task}[/bold]  ", end="")
        results.print(" ".join(showcase.query.split()), markup=False)
        print_table(("mode", "answer"), [("(expected)", " | ".join(showcase.answers)), *showcase.said.items()])


def markdown(report: Report, showcases: Sequence[Showcase]) -> str:
    """The same as Markdown."""
    parts = [_table(*summary(report))]
    parts += [f"**{task.name}**\n\n{_table(*details(report, task))}" for task in report.tasks]
    if report.differences:
        parts.append(f"**Differences on the same items**\n\n{_table(*differences(report))}")
    parts.append("\n".join(f"{line}  " for line in notes(report)))
    for showcase in showcases:
        rows = [("(expected)", " | ".join(showcase.answers)), *showcase.said.items()]
        parts.append(f"*{' '.join(showcase.query.split())}*\n\n{_table(('mode', 'answer'), rows)}")
    return "\n\n".join(parts) + "\n"


def summary(report: Report) -> tuple[tuple[str, ...], Rows]:
    """One row an arm: the first metric of each task, and the costs."""
    columns = (
        "mode",
        *(f"{t.name}: {_words(t.metrics[0])}" for t in report.tasks),
        "first token",
        "prompt",
        "training",
    )
    rows = []
    for arm in report.arms:
        quality = [_interval(arm, task) for task in report.tasks]
        prompt = "-" if arm.prompt_tokens is None else f"{arm.prompt_tokens:.0f} ({arm.cached_tokens:.0f} cached)"
        training = f"{arm.training_seconds:.0f} s" if arm.training_seconds else "none"
        rows.append((arm.mode, *quality, _ms(arm.first_token_ms), prompt, training))
    return columns, rows


def details(report: Report, task: Task) -> tuple[tuple[str, ...], Rows]:
    """One row an arm for one task: every metric, every slice, retrieval, failures."""
    arms = [(arm, arm.tasks[task.name]) for arm in report.arms if task.name in arm.tasks]
    slices = sorted({name for _, result in arms for name in result.slices})
    retrieval = any(result.gold_found is not None for _, result in arms)
    columns = ("mode", *(_words(metric) for metric in task.metrics), *slices)
    columns += (("gold retrieved",) if retrieval else ()) + ("answered", "failed")
    rows = []
    for arm, result in arms:
        cells = [arm.mode, *(_points(result.scores.get(metric)) for metric in task.metrics)]
        cells += [_points(result.slices.get(name, {}).get(task.metrics[0])) for name in slices]
        if retrieval:
            cells.append("-" if result.gold_found is None else f"{100 * result.gold_found:.0f} %")
        rows.append((*cells, str(result.answered), str(result.failed)))
    return columns, rows


def differences(report: Report) -> tuple[tuple[str, ...], Rows]:
    """One row a comparison."""
    rows = []
    for found in report.differences:
        asked, n = found.asked, found.difference.n if found.difference else 0
        what = f"{asked.arm} over {asked.over}"
        margin = f"{asked.margin:g}"
        rows.append(
            (what, f"{asked.task}: {_words(asked.metric)}", _points(found.difference), margin, str(n), found.verdict)
        )
    return ("arms", "metric", "difference", "margin", "items", "verdict"), rows


def notes(report: Report) -> list[str]:
    """What a reader must know beside the figures."""
    lines = [f"Base model {report.base} on {report.device}, {report.started}. {_FOOT}"]
    if retries := sum(arm.retries for arm in report.arms):
        lines.append(f"{retries} requests were repeated because the service was full.")
    lines += [f"failed {count} times: {error}" for error, count in report.errors.items()]
    return lines


def _interval(arm: ArmResult, task: Task) -> str:
    result = arm.tasks.get(task.name)
    return "-" if result is None else _points(result.scores.get(task.metrics[0]))


def _points(found: Interval | None) -> str:
    if found is None:
        return "-"
    return f"{100 * found.mean:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _words(metric: str) -> str:
    return metric.replace("_", " ").replace(" f1", " F1").replace("json", "JSON")


def _table(columns: Sequence[str], rows: Rows) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
