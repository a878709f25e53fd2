"""`ragtune eval`: run a suite, report a run."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from eval.parties import needs_service
from eval.report import report
from eval.run import Done, Resuming, plan, run_suite
from eval.runfile import Run, read_run
from eval.show import markdown, show
from eval.suite import Suite, read_suite
from eval.telling import telling
from eval.watching import watching
from ragtune.demo.commands import Commands
from ragtune.errors import Unavailable
from ragtune.home import live
from ragtune.remote import Target, target
from ragtune.settings import Settings
from ragtune.terminal import print_json, say

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
@_examples
@_wide
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
    examples: int,
    wide: bool,
    as_json: bool,
) -> None:
    """Run the suite in the TOML file SUITE against a service, and report it.

    \b
    Example:  ragtune eval run suite.toml --examples 3
              ragtune eval run suite.toml --out runs/handbook --serve

    One that was ended (Ctrl-C, a crash, a service that went away) goes on where it was when it is started again with
    the same --out; no question is asked twice.
    """
    if serve and url is not None:
        raise click.UsageError("--serve starts a service on the home; leave out --url, or --serve")
    planned = plan(read_suite(suite))
    settings = Settings.load()
    folder = out or settings.runs / f"eval-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    how = Resuming(fresh, retry_failed, reuse, allow_leaks)
    with _service(planned.suite, settings, url, serve=serve) as service, watching() as progress:
        done = asyncio.run(run_suite(planned, service, folder, progress, how))
    say(f"{_told(done)}; the run is in {folder}")
    made = read_run(folder)
    _show(made, examples, wide=wide, as_json=as_json, as_markdown=False)
    if all(item.error for item in made.items):
        raise Unavailable(f"no question was answered; the first failure: {made.items[0].error}")


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


def _told(done: Done) -> str:
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
