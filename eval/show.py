"""A report for people: in a terminal, and as Markdown."""

import re
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table as Drawn
from rich.text import Text

from eval.cost_tables import bills, costs, effort
from eval.figures import NOTHING, figure, metric_words
from eval.metrics import METRICS
from eval.notes import notes
from eval.report import Report
from eval.sentences import control_lines, verdict_lines
from eval.table import Cell, Column, Table
from eval.tables import against, differences, quality, summary
from eval.telling import Said, Showcase
from ragtune.terminal import printable

_LONGEST = 200  # characters of an answer or a query shown beside others
_UNLIMITED = 10_000  # columns
_LONG = 16  # characters, beyond which a mode is broken where a table is too wide
_MARKDOWN = re.compile(r"[\\`*<|~]|(?<=\])\(")  # what would be markup inside a table's cell


def show(report: Report, showcases: Sequence[Showcase], console: Console, *, wide: bool = False) -> None:
    """Print everything; `wide` adds every metric of every task, all costs, the controls and the audit of efforts."""
    for title, lines in verdict_lines(report):
        console.print(Text(f"\n{title}", style="bold"))
        for line in lines:
            console.print(Text(printable(line)))
    for table in _tables(report, wide):
        print_table(table, console)
    console.print()
    for line in (control_lines(report) if wide else []) + notes(report):
        console.print(Text(printable(line), style="dim"))
    for showcase in showcases:
        console.print(_drawn_showcase(showcase))


def markdown(report: Report, showcases: Sequence[Showcase], *, wide: bool = False) -> str:
    """The same as Markdown."""
    parts = [f"**{_escaped(title)}**\n\n" + "\n\n".join(map(_escaped, lines)) for title, lines in verdict_lines(report)]
    parts += [table_markdown(table) for table in _tables(report, wide)]
    lines = (control_lines(report) if wide else []) + notes(report)
    parts.append("\n".join(f"- {_escaped(printable(line))}" for line in lines))
    parts += [_piped_showcase(showcase) for showcase in showcases]
    return "\n\n".join(parts) + "\n"


def table_markdown(table: Table) -> str:
    """One table with its title."""
    return f"**{_escaped(table.title)}**\n\n{_piped(table)}"


def _tables(report: Report, wide: bool) -> list[Table]:
    tables = [summary(report)]
    if wide:
        tables += [*(quality(report, task) for task in report.tasks), costs(report)]
    tables += [differences(report.differences)] if report.differences else []
    if not wide:
        return tables
    once = [bills(report)] if any(arm.once.trained or arm.once.indexed for arm in report.arms) else []
    gaps = [
        against(found, f"{task.name}: every mode against {found[0].asked.over}, in points")
        for task in report.tasks
        if (found := [gap for gap in report.gaps if gap.asked.task == task.name])
    ]
    return [*tables, *gaps, *once, effort(report)]


def print_table(table: Table, console: Console) -> None:
    """As one line a row if it fits, else with long words broken where they may be; never with a figure cut off."""
    for broken in (False, True):
        drawn = _laid_out(table, broken=broken)
        needed = Measurement.get(console, console.options.update(width=_UNLIMITED), drawn)
        if needed.maximum <= console.width:
            break
    console.print(drawn, width=max(console.width, needed.minimum), crop=False)


def _laid_out(table: Table, *, broken: bool) -> Drawn:
    drawn = _frame(f"\n{table.title}")
    height = max(len(column.heading) for column in table.columns)
    for column in table.columns:
        lowered = "\n" * (height - len(column.heading)) + "\n".join(column.heading)
        drawn.add_column(Text(lowered), no_wrap=not column.words, overflow="fold")
    for row in zip(*(_texts(column, broken) for column in table.columns), strict=True):
        drawn.add_row(*row)
    return drawn


def _frame(title: str | None) -> Drawn:
    heading = Text(title, style="bold") if title else None
    return Drawn(title=heading, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))


def _texts(column: Column, broken: bool) -> list[Text]:
    """The cells; numbers aligned right so that what stands aside begins in one place."""
    width = max((len(cell.text) for cell in column.cells), default=0)
    return [
        _text(cell, (_broken(cell.text) if broken else cell.text) if column.words else cell.text.rjust(width))
        for cell in column.cells
    ]


def _text(cell: Cell, text: str) -> Text:
    return Text.assemble((text, "bold" if cell.strong else ""), (f" {cell.aside}" if cell.aside else "", "dim"))


def _broken(text: str) -> str:
    """A long mode in lines, by its parts; a comparison of long modes by its arms."""
    if len(text) <= _LONG:
        return text
    first, over, second = text.partition(" over ")
    if over:
        return f"{_broken(first)}\nover {_broken(second)}"
    return text.replace("+", "\n+").replace("prompt:", "prompt:\n")


def _drawn_showcase(showcase: Showcase) -> RenderableType:
    drawn = _frame(None)
    drawn.add_column(Text(metric_words(showcase.metric)), justify="right")
    drawn.add_column(Text("mode"), overflow="fold", max_width=36)
    drawn.add_column(Text("answer"), overflow="fold")
    for said in showcase.said:
        colour = _colour(showcase.metric, said.score)
        drawn.add_row(Text(_points(showcase, said), style=colour), Text(said.arm), Text(_answer(said)))
    title = Text(f"\n{showcase.task} · {printable(showcase.example)}", style="bold")
    asked = Text.assemble(("asked     ", "dim"), _short(showcase.query))
    wanted = Text.assemble(("expected  ", "dim"), _short(" | ".join(showcase.answers)))
    return Group(title, asked, wanted, drawn)


def _colour(metric: str, score: float | None) -> str:
    """By right and wrong; none where the metric knows neither."""
    if score is None:
        return "red"
    if METRICS[metric].unit != "share" or METRICS[metric].lower_is_better:
        return ""
    return "green" if score == 1 else "red" if score == 0 else "yellow"


def _piped(table: Table) -> str:
    columns = [[" ".join(column.heading), *map(_marked, column.cells)] for column in table.columns]
    return _pipes([list(row) for row in zip(*columns, strict=True)])


def _piped_showcase(showcase: Showcase) -> str:
    rows = [["mode", _escaped(metric_words(showcase.metric)), "answer"]]
    rows += [[_escaped(said.arm), _points(showcase, said), _escaped(_answer(said))] for said in showcase.said]
    wanted = _escaped(_short(" | ".join(showcase.answers)))
    return f"**{_escaped(_short(showcase.query))}**  \nExpected: {wanted}\n\n{_pipes(rows)}"


def _pipes(rows: Sequence[Sequence[str]]) -> str:
    heading, *rest = rows
    return "\n".join("| " + " | ".join(line) + " |" for line in [heading, ["---"] * len(heading), *rest])


def _marked(cell: Cell) -> str:
    text = f"**{_escaped(cell.text)}**" if cell.strong else _escaped(cell.text)
    return f"{text} {_escaped(cell.aside)}".strip()


def _points(showcase: Showcase, said: Said) -> str:
    return NOTHING if said.score is None else figure(showcase.metric, said.score)


def _answer(said: Said) -> str:
    if said.error:
        return _short(f"(failed: {said.error})")
    missed = " (gold document not retrieved)" if said.gold_retrieved is False else ""
    return _short(said.text) + missed


def _short(text: str) -> str:
    words = printable(" ".join(text.split()))
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)
