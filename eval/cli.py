"""`ragtune eval`: run a suite, report a run."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from eval.report import report, telling
from eval.run import plan, run_suite
from eval.runfile import Item, read_run
from eval.show import markdown, show
from eval.suite import read_suite
from ragtune.home import live_server
from ragtune.settings import Settings
from ragtune.terminal import print_json, progress, results, say

_as_json = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
_as_markdown = click.option("--markdown", "as_markdown", is_flag=True, help="Print the report as Markdown.")
_examples = click.option("--examples", default=0, show_default=True, help="Show so many telling items side by side.")


@click.group()
def evaluate() -> None:
    """Ask held-out examples in several modes and compare the answers."""


@evaluate.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--url", help="The service; by default the one that runs on this RAGTUNE_HOME.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [default: runs/ in the home].")
@_examples
@_as_json
def run(suite: Path, url: str | None, out: Path | None, examples: int, as_json: bool) -> None:
    """Run the suite in the TOML file SUITE against a service, and report it.

    \b
    Example:  ragtune eval run suite.toml --examples 3
    """
    settings, read = Settings.load(), read_suite(suite)
    target = url or live_server(settings.home) or f"http://{settings.host}:{settings.port}"
    folder = out or settings.runs / f"eval-{read.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    questions = plan(read)
    total = sum(len(arm) for arm in questions)
    with progress(f"asking {total} questions in {len(questions)} modes", total) as bar:

        def advance(item: Item) -> None:
            bar.describe(item.arm)
            bar.advance()

        seconds = asyncio.run(run_suite(read, target, folder, questions, advance))
    say(f"{total} answers in {seconds:.0f} s; the run is in {folder}")
    _show(folder, examples, as_json, as_markdown=False)


@evaluate.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@_examples
@_as_json
@_as_markdown
def report_(folder: Path, examples: int, as_json: bool, as_markdown: bool) -> None:
    """Report the run in FOLDER again.

    \b
    Example:  ragtune eval report runs/eval-handbook --markdown
    """
    _show(folder, examples, as_json, as_markdown)


def _show(folder: Path, examples: int, as_json: bool, as_markdown: bool) -> None:
    header, items = read_run(folder)
    made, showcases = report(header, items), telling(header.suite, items, examples)
    if as_json:
        print_json({"report": made, "examples": showcases})
    elif as_markdown:
        results.print(markdown(made, showcases), markup=False)
    else:
        show(made, showcases)
