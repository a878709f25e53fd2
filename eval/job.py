"""One evaluation as a job: the suite asked of the service of this home, its run and its reports written.

    python -m eval.job --job ID

The service starts it so, niced. It calls that service as every client does, over HTTP.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from eval.confined import check_confined
from eval.html.page import TELLING, page_of
from eval.report import Report, report
from eval.run import Resuming, plan, run_suite
from eval.runfile import Run, read_run
from eval.show import markdown
from eval.suite import parse_suite
from eval.telling import telling
from ragtune.errors import Cancelled, RagtuneError, Unavailable
from ragtune.evaluation import REPORTS, EvaluationSpec, Format, Summary
from ragtune.full_disk import full_disk_told
from ragtune.home import live
from ragtune.jobs import Jobs
from ragtune.remote import Target, target
from ragtune.running_job import RunningJob
from ragtune.settings import Settings
from ragtune.store import Database

_EVERY = 10.0  # seconds between two lines of the log


def carry_out(running: RunningJob, settings: Settings) -> Summary:
    """Do the job. Raises what `run_suite` raises, Forbidden for a path that is not allowed (any more), Unavailable if
    no question was answered, Cancelled if the job is to stop."""
    spec = EvaluationSpec.model_validate(running.job.spec)
    suite, folder = parse_suite(spec.suite), settings.runs / spec.run
    roots = (*settings.evaluation_roots, folder)
    check_confined(suite, roots)
    with full_disk_told(folder):
        again = Resuming(retry_failed=True, roots=roots)  # on a first run there is nothing to retry
        asyncio.run(run_suite(plan(suite), _service(settings), folder, _Diary(running), again))
        made = read_run(folder)
        told = report(made)
        write_reports(made, told, folder)
    failed = sum(item.error is not None for item in made.items)
    if failed == len(made.items):
        raise Unavailable(f"no question was answered; the first failure: {made.items[0].error}")
    passed = told.passed if told.gates else None
    summary = Summary(run=spec.run, questions=len(made.items), failed=failed, verdict=_verdict(told), passed=passed)
    running.result = summary.model_dump(mode="json")
    return summary


def write_reports(made: Run, told: Report, folder: Path) -> None:
    """A file for each format, a function of the run alone."""
    for format, text in _reports(made, told).items():  # noqa: A001 - the word of the route
        beside = folder / f".{REPORTS[format]}"
        beside.write_text(text, encoding="utf-8")
        beside.rename(folder / REPORTS[format])


def _reports(made: Run, told: Report) -> dict[Format, str]:
    showcases = telling(made, TELLING)
    return {
        "json": told.model_dump_json(indent=1) + "\n",
        "markdown": markdown(told, showcases, wide=True),
        "html": page_of(told, showcases),
    }


def _verdict(told: Report) -> tuple[str, ...]:
    return tuple(f"{each.task}: {sentence}" for each in told.verdicts for sentence in each.words)


def _service(settings: Settings) -> Target:
    """The service of this home, which gives its own jobs every right. Raises Unavailable if it has ended."""
    own = live(settings.home)
    if own is None:
        raise Unavailable(f"the service on {settings.home} has ended; start it, and resume the evaluation")
    return target(settings, own.url)


class _Diary:
    """Tells the job, and its log, how far it is."""

    def __init__(self, running: RunningJob) -> None:
        self._running = running
        self._total = self._done = self._failed = 0
        self._next = 0.0

    def begin(self, missing: int, kept: int) -> None:
        """So many questions are missing; so many were answered before the job was ended."""
        self._total, self._done = missing + kept, kept

    def advance(self, arm: str, error: str | None) -> None:
        """Hears of every request. Raises Cancelled if the job is to stop."""
        self._done += 1
        self._failed += error is not None
        if error is not None or self._done == self._total or time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            told = f"{arm}: {error}" if error else f"{self._failed} failed"
            print(
                f"{time.strftime('%H:%M:%S')} asked {self._done} of {self._total}, {told}", file=sys.stderr, flush=True
            )
        figures = {"failed": float(self._failed)} if self._failed else {}
        self._running.progress(self._done, self._total, unit="questions", stage="asking", figures=figures)


def main() -> None:
    """Entry point of `python -m eval.job`; what went wrong stands in the job."""
    parser = argparse.ArgumentParser(description="Do an evaluation that the service has queued.")
    parser.add_argument("--job", required=True)
    job_id, settings = parser.parse_args().job, Settings.load()
    try:
        with Jobs(Database(settings.database), settings.home).take(job_id) as running:
            carry_out(running, settings)
    except (RagtuneError, Cancelled) as error:
        sys.exit(error.message)
    except KeyboardInterrupt:
        sys.exit("ended; what was answered is kept, and it can be resumed")


if __name__ == "__main__":
    main()
