"""The page: verdict first, then what it rests on. A pure function of a report; the same report gives the same bytes."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from eval import cost_tables, tables
from eval.figures import metric_words
from eval.html.dots import Dots, ladder_dots, latency_dots, quality_dots
from eval.html.evidence import evidence
from eval.html.scatter import scatter
from eval.ladder import Ladder
from eval.notes import notes
from eval.report import Report, report
from eval.runfile import Run
from eval.sentences import format_words, ladder_words
from eval.table import Cell, Table
from eval.telling import Showcase, telling
from ragtune.terminal import printable

FILE = "report.html"
TELLING = 10


def page(run: Run, found: Report | None = None) -> str:
    """The page of a run; `found` is its report, where that is made already."""
    return page_of(found or report(run), telling(run, TELLING))


def write_page(run: Run, path: Path, found: Report | None = None) -> None:
    """Write the page of a run to `path`, whole or not at all."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(page(run, found), encoding="utf-8")
    beside.replace(path)


def page_of(found: Report, showcases: Sequence[Showcase]) -> str:
    """The page of a report that is made already."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=found,
            suite=found.header.suite,
            tasks=[_task(found, task.name) for task in found.tasks],
            latency=latency_dots(found),
            costs=cost_tables.costs(found),
            bills=cost_tables.bills(found),
            ladders=[(ladder, _ladder_dots(ladder), ladder_words(ladder)) for ladder in found.ladders],
            formats=[(each, format_words(each)) for each in found.formats],
            differences=tables.differences(found.differences) if found.differences else None,
            effort=cost_tables.effort(found),
            gates=tables.gate_table(found.gates) if found.gates else None,
            evidence=[evidence(showcase) for showcase in showcases],
            notes=notes(found),
        )
    )


def _task(found: Report, name: str) -> dict[str, Any]:
    """What the sections show of one task."""
    task = next(task for task in found.tasks if task.name == name)
    gaps = [gap for gap in found.gaps if gap.asked.task == name]
    return {
        "name": name,
        "verdict": next((verdict for verdict in found.verdicts if verdict.task == name), None),
        "dots": quality_dots(found, task),
        "scatter": scatter(found, task),
        "quality": tables.quality(found, task),
        "slices": tables.slices(found, task) if any(r.slices for r in tables.results(found.arms, task)) else None,
        "gaps": tables.against(gaps, f"{name}: every mode against {gaps[0].asked.over}, in points") if gaps else None,
    }


def _ladder_dots(ladder: Ladder) -> Dots | None:
    rungs = [(rung.context, rung.score) for rung in ladder.rungs if rung.score]
    title = f"{ladder.task}: {ladder.mode} by what it was given to read"
    return ladder_dots(title, metric_words(ladder.metric), ladder.metric, rungs)


def _rows(table: Table) -> list[tuple[Cell, ...]]:
    return list(zip(*(column.cells for column in table.columns), strict=True))


def _breakable(mode: str) -> Markup:
    """A mode that may be broken between its parts."""
    return Markup("<wbr>+").join(escape(printable(part)) for part in mode.split("+"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("eval", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters["rows"] = _rows
    environment.filters["breakable"] = _breakable
    environment.globals["style"] = Markup(_text("style.css"))
    return environment


def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
