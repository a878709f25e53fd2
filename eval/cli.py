"""`ragtune eval`: run a suite, report a run, compare two."""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from eval.across import Across, across
from eval.check import checked
from eval.html.page import FILE, write_page
from eval.parties import needs_service
from eval.report import Report, report
from eval.run import Done, Resuming, plan, run_suite
from eval.runfile import Run, read_run
from eval.sentences import change_lines
from eval.show import markdown, print_table, show, table_markdown
from eval.suite import Suite, read_suite
from eval.table import Table
from eval.tables import differences, gate_table
from eval.telling import telling
from eval.watching import watching
from ragtune.commands import Commands
from ragtune.errors import Unavailable
from ragtune.home import live
from ragtune.remote import Target, target
from ragtune.settings import Settings
from ragtune.terminal import print_json, printable, say

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
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run [default: a new one in runs/ of the home]. One that was cut off there is gone on with.",
)
@click.option("--fresh", is_flag=True, help="Ask everything again, whatever is in the folder.")
@click.option("--retry-failed", is_flag=True, help="Ask again what failed in an earlier sitting.")
@click.option(
    "--reuse",
    type=click.Path(file_okay=False, path_type=Path),
    help="Take over answers of this run where it asked the same of the same versions; their timings do not count.",
)
@click.option("--allow-leaks", is_flag=True, help="Go on where held-out examples were trained on; the report tells.")
@click.option("--serve", is_flag=True, help="Start a service for as long as it takes, if none runs on the home.")
@click.option("--check", is_flag=True, help="Ask nothing: only say whether the suite could be asked, leaks included.")
@_examples
@_wide
@_gate
@_as_json
def run(
    suite: Path,
    url: str | None,
    out: Path | None,
    fresh: bool,
    retry_failed: bool,
    reuse: Path | None,
    allow_leaks: bool,
    serve: bool,
    check: bool,
    examples: int,
    wide: bool,
    gate: bool,
    as_json: bool,
) -> None:
    """Run the suite in the TOML file SUITE against a service, and report it.

    The report is written into the run's folder as a page for a browser, too.

    \b
    Example:  ragtune eval run suite.toml --examples 3
              ragtune eval run suite.toml --out runs/handbook --serve

    One that was ended (Ctrl-C, a crash, a service that went away) goes on where it was when it is started again with
    the same --out. No question is asked twice, but those that were on their way when it ended.
    """
    if serve and url is not None:
        raise click.UsageError("--serve starts a service on the home; leave out --url, or --serve")
    planned = plan(read_suite(suite))
    if check:
        say(checked(planned, allow_leaks=allow_leaks))
        return
    settings = Settings.load()
    folder = out or settings.runs / f"eval-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    how = Resuming(fresh, retry_failed, reuse, allow_leaks)
    with _service(planned.suite, settings, url, serve=serve) as service, watching() as progress:
        done = asyncio.run(run_suite(planned, service, folder, progress, how))
    say(f"{_asked(done)}; the run is in {folder}")
    _told(folder, examples, wide=wide, gate=gate, as_json=as_json)


def _told(folder: Path, examples: int, *, wide: bool, gate: bool, as_json: bool) -> None:
    """Report the run just made, and write its page beside it."""
    made = read_run(folder)
    found = report(made)
    write_page(made, folder / FILE, found)
    say(f"the report as a page: {folder / FILE}")
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
        write_page(made, page, found)
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


def _asked(done: Done) -> str:
    told = f"{done.asked} questions asked in {done.seconds:.0f} s"
    if done.kept:
        told += f", {done.kept} kept from an earlier sitting"
    return told + (f", {done.reused} of them answered by an earlier run" if done.reused else "")


@contextmanager
def _service(suite: Suite, settings: Settings, url: str | None, *, serve: bool) -> Iterator[Target | None]:
    """The service to ask, started if that is wanted and none runs on the home; None where only endpoints are asked."""
    if not needs_service(suite):
        yield None
    elif not serve or live(settings.home) is not None:
        yield target(settings, url)
    else:
        settings.runs.mkdir(parents=True, exist_ok=True)
        say("no service runs on the home; starting one ...")
        commands = Commands({**os.environ, "RAGTUNE_HOME": str(settings.home)})
        with commands.serve(settings.runs / "serve.log"):
            yield target(settings)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
