"""`ragtune eval`: run a suite, report a run."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from eval.report import report
from eval.run import plan, run_suite
from eval.runfile import Run, read_run
from eval.show import markdown, show
from eval.suite import read_suite
from eval.telling import telling
from ragtune.errors import Unavailable
from ragtune.remote import target
from ragtune.settings import Settings
from ragtune.terminal import print_json, progress, say

_WIDTH = 120  # columns, where there is no terminal to ask
_as_json = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
_examples = click.option(
    "--examples", default=0, show_default=True, type=click.IntRange(0), help="Show so many telling items side by side."
)
_wide = click.option("--wide", is_flag=True, help="Show every metric and all costs.")


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
@_as_json
def run(suite: Path, url: str | None, out: Path | None, examples: int, wide: bool, as_json: bool) -> None:
    """Run the suite in the TOML file SUITE against a service, and report it.

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
    made = read_run(folder)
    _show(made, examples, wide=wide, as_json=as_json, as_markdown=False)
    if all(item.error for item in made.items):
        raise Unavailable(f"no question was answered; the first failure: {failures[0]}")


@evaluate.command("report")
@click.argument("folder", metavar="RUN", type=click.Path(file_okay=False, path_type=Path))
@_examples
@_wide
@_as_json
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the report as Markdown.")
def report_(folder: Path, examples: int, wide: bool, as_json: bool, as_markdown: bool) -> None:
    """Report the run in the folder RUN again.

    \b
    Example:  ragtune eval report runs/eval-20261124T101500 --markdown
    """
    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    _show(read_run(folder), examples, wide=wide, as_json=as_json, as_markdown=as_markdown)


def _show(found: Run, examples: int, *, wide: bool, as_json: bool, as_markdown: bool) -> None:
    made, showcases = report(found), telling(found, examples)
    if as_json:
        print_json({"report": made, "examples": showcases})
    elif as_markdown:
        sys.stdout.write(markdown(made, showcases, wide=wide))
    else:
        show(made, showcases, _console(), wide=wide)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
