"""`ragtune eval`: run a suite, report a run, compare two."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from eval.across import Across, across
from eval.html.page import FILE, write_page
from eval.report import Report, report
from eval.run import plan, run_suite
from eval.runfile import Run, read_run
from eval.sentences import change_lines
from eval.show import markdown, print_table, show, table_markdown
from eval.suite import read_suite
from eval.table import Table
from eval.tables import differences, gate_table
from eval.telling import telling
from ragtune.errors import Unavailable
from ragtune.remote import target
from ragtune.settings import Settings
from ragtune.terminal import print_json, printable, progress, say

_WIDTH = 120  # columns, where there is no terminal to ask
_FAILED = 1
_as_json = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
_as_markdown = click.option("--markdown", "as_markdown", is_flag=True, help="Print the report as Markdown.")
_examples = click.option(
    "--examples", default=0, show_default=True, type=click.IntRange(0), help="Show so many telling items side by side."
)
_wide = click.option("--wide", is_flag=True, help="Show every metric, all costs, controls and efforts.")
_gate = click.option("--gate", is_flag=True, help="End with exit code 1 if a gate of the suite fails.")


@click.group()
def evaluate() -> None:
    """Ask held-out examples in several modes and compare the answers.

    \b
    Example:  ragtune eval run suite.toml --examples 3
    """


@evaluate.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--url", help="The service; by default the one that runs on this RAGTUNE_HOME.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the run [default: runs/ in the home]."
)
@_examples
@_wide
@_gate
@_as_json
def run(suite: Path, url: str | None, out: Path | None, examples: int, wide: bool, gate: bool, as_json: bool) -> None:
    """Run the suite in the TOML file SUITE against a service, and report it.

    The report is written into the run's folder as a page for a browser, too.

    \b
    Example:  ragtune eval run suite.toml --examples 3
    """
    settings, read = Settings.load(), read_suite(suite)
    service = target(settings, url)
    folder = out or settings.runs / f"eval-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    questions = plan(read)
    total = sum(len(arm) + min(len(arm), read.alone) for arm in questions)
    failures: list[str] = []
    with progress(f"asking {total} questions in {len(questions)} modes", total) as bar:

        def advance(arm: str, error: str | None) -> None:
            if error:
                failures.append(error)
            bar.describe(f"{arm}, {len(failures)} failed" if failures else arm)
            bar.advance()

        seconds = asyncio.run(run_suite(read, service, folder, questions, advance))
    say(f"{total - len(failures)} of {total} questions answered in {seconds:.0f} s; the run is in {folder}")
    _told(folder, examples, wide=wide, gate=gate, as_json=as_json)


def _told(folder: Path, examples: int, *, wide: bool, gate: bool, as_json: bool) -> None:
    """Report the run just made, and write its page beside it."""
    made = read_run(folder)
    write_page(made, folder / FILE)
    say(f"the report as a page: {folder / FILE}")
    found = report(made)
    _show(made, found, examples, wide=wide, as_json=as_json, as_markdown=False)
    if all(item.error for item in made.items):
        reason = next((item.error for item in made.items), "there was none to ask")
        raise Unavailable(f"no question was answered; the first failure: {reason}")
    if gate:
        _hold(found, quiet=as_json)


@evaluate.command("report")
@click.argument("folder", metavar="RUN", type=click.Path(file_okay=False, path_type=Path))
@_examples
@_wide
@_gate
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a page there.")
@_as_json
@_as_markdown
def report_(
    folder: Path, examples: int, wide: bool, gate: bool, page: Path | None, as_json: bool, as_markdown: bool
) -> None:
    """Report the run in the folder RUN again.

    \b
    Example:  ragtune eval report runs/eval-20261124T101500 --html report.html
    """
    _only_one(as_json, as_markdown)
    made = read_run(folder)
    found = report(made)
    if page:
        write_page(made, page)
        say(f"the report as a page: {page}")
    _show(made, found, examples, wide=wide, as_json=as_json, as_markdown=as_markdown)
    if gate:
        _hold(found, quiet=as_json or as_markdown)


@evaluate.command()
@click.argument("first", metavar="RUN_A", type=click.Path(file_okay=False, path_type=Path))
@click.argument("second", metavar="RUN_B", type=click.Path(file_okay=False, path_type=Path))
@_as_json
@_as_markdown
def compare(first: Path, second: Path, as_json: bool, as_markdown: bool) -> None:
    """Show what is better or worse in RUN_B than in RUN_A: the same modes on the same questions.

    \b
    Example:  ragtune eval compare runs/monday runs/tuesday
    """
    _only_one(as_json, as_markdown)
    found = across(read_run(first), read_run(second), (str(first), str(second)))
    if as_json:
        print_json(found)
    else:
        _show_across(found, as_markdown=as_markdown)


def _show(made: Run, found: Report, examples: int, *, wide: bool, as_json: bool, as_markdown: bool) -> None:
    showcases = telling(made, examples)
    if as_json:
        print_json({"report": found, "examples": showcases})
    elif as_markdown:
        sys.stdout.write(markdown(found, showcases, wide=wide))
    else:
        show(found, showcases, _console(), wide=wide)


def _show_across(found: Across, *, as_markdown: bool) -> None:
    table = differences(found.differences, f"{found.second} against {found.first}, on the same items, in points")
    _draw(table, change_lines(found), as_markdown=as_markdown)


def _draw(table: Table, lines: Sequence[str], *, as_markdown: bool) -> None:
    if as_markdown:
        told = "\n".join(f"- {printable(line)}" for line in lines)
        sys.stdout.write(f"{table_markdown(table)}\n\n{told}\n")
        return
    console = _console()
    print_table(table, console)
    console.print()
    for line in lines:
        console.print(Text(printable(line), style="dim"))


def _hold(found: Report, *, quiet: bool) -> None:
    """Show the gates, unless the report holds them already; end with 1 if one failed, or if there is none to hold."""
    if not found.gates:
        raise click.UsageError("--gate needs [[gates]] in the suite; this one has none")
    if not quiet:
        print_table(gate_table(found.gates), _console())
    failed = sum(not gate.passed for gate in found.gates)
    say(f"{failed} of {len(found.gates)} gates failed" if failed else f"all {len(found.gates)} gates passed")
    if failed:
        click.get_current_context().exit(_FAILED)


def _only_one(as_json: bool, as_markdown: bool) -> None:
    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown exclude each other")


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
