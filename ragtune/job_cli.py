"""`ragtune job`: list, show, watch and cancel the long work of this home, and read what its processes wrote.

Works on the home directly, also beside a live server: whoever does a job tells of it in the home's database, and looks
there whether to stop.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import click

from ragtune.audit import AuditLog
from ragtune.job import STATES, Job, JobEvent, Progress, State, in_words
from ragtune.jobs import Jobs
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import print_json, print_table, progress, say, show

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
_DEFAULT = 20
_LINES = 100


@click.group()
def job() -> None:
    """Long work: how far it is, and whether it is to stop."""


@job.command("list")
@click.option("--resource", metavar="NAME", help="Only jobs on this resource, as in index:handbook.")
@click.option("--state", type=click.Choice(STATES), metavar="STATE", help=f"Only jobs that are {', '.join(STATES)}.")
@click.option("--limit", default=_DEFAULT, show_default=True, type=click.IntRange(1), help="Jobs at most.")
@_as_json
def list_(resource: str | None, state: State | None, limit: int, as_json: bool) -> None:
    """Jobs at work, and those that have ended lately, newest first.

    \b
    Example:  ragtune job list --state running
    """
    found = _jobs().newest(limit, resource=resource, state=state)
    if as_json:
        print_json(found)
    elif found:
        print_table(("job", "kind", "resource", "state", "since", "by", "what"), [_row(each) for each in found])
    else:
        say("no such job" if resource or state else "there was no job yet; builds of indexes are some")


@job.command("show")
@click.argument("job_id", metavar="JOB")
@_as_json
def show_(job_id: str, as_json: bool) -> None:
    """All that is known of JOB.

    \b
    Example:  ragtune job show job-4f2a91c07d
    """
    jobs = _jobs()
    found = jobs.get(job_id)
    if as_json:
        print_json(found)
        return
    for name, value in found.model_dump().items():
        if value not in (None, ""):
            show(f"{name:17}{getattr(found, name)}")
    if jobs.log(job_id).exists():
        show(f"{'log':17}{jobs.log(job_id)}")


@job.command()
@click.argument("job_id", metavar="JOB")
@click.option("--lines", default=_LINES, show_default=True, type=click.IntRange(1), help="Lines at most.")
def log(job_id: str, lines: int) -> None:
    """The last lines that the process of JOB has written, as far as it has come.

    \b
    Example:  ragtune job log job-4f2a91c07d
    """
    jobs = _jobs()
    found = jobs.get(job_id)
    written = jobs.tail(job_id, lines)
    for line in written:
        show(line)
    if not written:
        say(f"the {found.kind} {job_id} has no log: it has said nothing, or is a command's and said it in its terminal")


@job.command()
@click.argument("job_id", metavar="JOB")
@_as_json
def watch(job_id: str, as_json: bool) -> None:
    """Follow JOB to its end; the exit code is 0 if it succeeded, else 1.

    To stop watching (Ctrl-C) stops nothing else. With --json the job is printed when it has ended.

    \b
    Example:  ragtune job watch job-4f2a91c07d
    """
    jobs = _jobs()
    _draw(jobs.get(job_id), jobs.follow(job_id))
    ended = jobs.get(job_id)
    if as_json:
        print_json(ended)
    else:
        say(f"{ended.kind} {ended.id}: {ended.state}{_ending(ended)}")
    sys.exit(0 if ended.state == "succeeded" else 1)


@job.command()
@click.argument("job_id", metavar="JOB")
@_as_json
def cancel(job_id: str, as_json: bool) -> None:
    """Ask JOB to stop, which it does soon; what was published stays as it is.

    \b
    Example:  ragtune job cancel job-4f2a91c07d
    """
    settings = Settings.load()
    asked = _jobs().cancel(job_id)
    AuditLog(Database(settings.database)).command("job cancel", job_id)
    if as_json:
        print_json(asked)
    elif asked.ended:
        say(f"{job_id} is cancelled")
    else:
        say(f"{job_id} was asked to stop; see it end with: ragtune job watch {job_id}")


def _jobs() -> Jobs:
    settings = Settings.load()
    return Jobs(Database(settings.database), settings.home)


def _draw(watched: Job, events: Iterable[JobEvent]) -> None:
    """A bar for every stage, as it goes."""
    with ExitStack() as shown:
        last: Progress | None = None
        for advance in _advances(watched, events):
            if last is None or advance.stage != last.stage:
                shown.close()
                bar, last = shown.enter_context(progress(f"{watched.resource}: {advance.stage}", advance.total)), None
            bar.advance(advance.done - (last.done if last else 0))
            if advance.total is not None:
                bar.total(advance.total)
            rate = [] if advance.rate is None else [f"{advance.rate:.1f} {advance.unit}/s"]
            bar.describe(", ".join([*rate, *in_words(advance.figures)]))
            last = advance


def _advances(watched: Job, events: Iterable[JobEvent]) -> Iterator[Progress]:
    for event in events:
        if isinstance(event.data, Progress):
            yield event.data
        elif event.data.state == "queued":
            say(f"{watched.kind} of {watched.resource} waits for its process ...")


def _row(found: Job) -> tuple[str, ...]:
    since = found.finished or found.started or found.created
    what = _ending(found).removeprefix(": ") if found.ended else str(found.progress or "")
    return (found.id, found.kind, found.resource, found.state, since, found.author or "-", what or "-")


def _ending(found: Job) -> str:
    if found.error is not None:
        return f": {found.error.message}"
    if found.result:
        return ": " + ", ".join(f"{name} {value}" for name, value in found.result.items())
    return ""
