"""`ragtune bakeoff`: documents, examples and a budget in, a verdict out."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from ragtune.bakeoff.apart import check_apart
from ragtune.bakeoff.bakeoff import Bakeoff
from ragtune.bakeoff.files import Files
from ragtune.bakeoff.interruption import told_how_to_go_on
from ragtune.bakeoff.screen import offer_best, show_going_on, show_outcome
from ragtune.bakeoff.task import read_tasks
from ragtune.bakeoff.technique import DEFAULT, TECHNIQUES, chosen
from ragtune.bakeoff.workplace import Workplace
from ragtune.commands import Commands
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.settings import PREFIX
from ragtune.template import Template
from ragtune.terminal import print_json

INDEX = "docs"
_UNITS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time such as 30m, 90s or 1.5h, in seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(value).strip().lower())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no time such as 30m, 90s or 1.5h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class ByTask(click.ParamType):  # type: ignore[type-arg]
    """TASK=WHAT."""

    name = "task=what"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The two sides."""
        task, equals, what = str(value).partition("=")
        if not (task and equals and what):
            self.fail(f"{value!r} is not TASK=...", param, ctx)
        return task, what


_files = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--docs", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to retrieve from."
)
@click.option("--train", required=True, multiple=True, type=_files, help="Examples to train on; may be given often.")
@click.option("--heldout", required=True, multiple=True, type=_files, help="Examples to ask; may be given often.")
@click.option("--budget", default="30m", show_default=True, type=Duration(), help="Time for all of it: 30m, 90s, 1.5h.")
@click.option(
    "--folder",
    default=Path("bakeoff"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything goes: a home of its own, the suite, the report.",
)
@click.option(
    "--techniques",
    metavar="NAMES",
    help=f"Only these, comma separated, of: {', '.join(TECHNIQUES)}. [default: {', '.join(DEFAULT)}, and what fits]",
)
@click.option(
    "--metric", "metrics", multiple=True, type=ByTask(), help="Score a task by this metric; may be given often."
)
@click.option(
    "--template", "templates", multiple=True, type=ByTask(), help="Your own prompt template (a TOML file) for a task."
)
@click.option("--allow-leaks", is_flag=True, help="Go on where held-out examples are trained on; the report tells.")
@click.option("--retry-failed", is_flag=True, help="Ask again what failed in an earlier evaluation.")
@click.option("--fresh", is_flag=True, help="Delete what an earlier bake-off left in the folder and start over.")
@click.option("--yes", is_flag=True, help="Set the mode alias `best` without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON; the rest goes to stderr.")
def bakeoff(
    docs: Path,
    train: tuple[Path, ...],
    heldout: tuple[Path, ...],
    budget: float,
    folder: Path,
    techniques: str | None,
    metrics: tuple[tuple[str, str], ...],
    templates: tuple[tuple[str, str], ...],
    allow_leaks: bool,
    retry_failed: bool,
    fresh: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Find out which technique wins for your data: index, train each one alike, ask them all, and say which to take.

    \b
    Example:
      ragtune bakeoff --docs handbook/ --train train.jsonl --heldout heldout.jsonl --budget 30m

    Prompting, retrieval, a LoRA, a soft prompt and a fine-tune of the last layers are compared, alone and with
    retrieval; further techniques where there is time. The plan is shown before it begins, and nothing beyond the
    budget is begun. One that was ended goes on where it was.
    """
    if not docs.is_dir():
        raise RefusedArtifact(f"there is no folder {docs}; --docs names the documents to retrieve from")
    asked = tuple(technique.name for technique in chosen(_listed(techniques)))
    scored: dict[str, list[str]] = {}
    for task, metric in metrics:
        scored.setdefault(task, []).append(metric)
    tasks = read_tasks(train, heldout, scored)
    shown = {task: (Path(file), Path(file)) for task, file in templates}
    _check_templates(shown, [task.name for task in tasks])
    check_apart(folder, docs, (*train, *heldout), (file for file, _ in shown.values()))
    place = _place(folder, results_to_stderr=as_json)
    if fresh:
        place.files.start_over()
    with told_how_to_go_on():
        outcome = Bakeoff(
            *(folder.resolve().name, place, docs.resolve(), INDEX, tasks, budget, None, asked, shown),
            allow_leaks=allow_leaks,
            retry_failed=retry_failed,
        ).run()
    if as_json:
        print_json(outcome)
    else:
        show_outcome(place, outcome)
    done = offer_best(place, outcome, yes=yes, ask=not as_json and sys.stdin.isatty())
    if not as_json:
        show_going_on(place, outcome, aliases=not done)


def _place(folder: Path, *, results_to_stderr: bool) -> Workplace:
    """In `folder`, under the caller's RAGTUNE_ settings but with a home of its own, whose only index `rag` means."""
    files = Files(folder.resolve())
    environ = {**os.environ, f"{PREFIX}HOME": str(files.home), f"{PREFIX}DEFAULT_INDEX": INDEX}
    return Workplace(files, Commands(environ, results_to_stderr=results_to_stderr))


def _check_templates(shown: Mapping[str, tuple[Path, Path]], tasks: list[str]) -> None:
    for task, (file, _) in shown.items():
        if task not in tasks:
            raise UnknownName.among("task", task, tasks)
        Template.read(file)


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]
