"""A job as the process at work on it has it: it tells how far it is, and hears there that it is to stop."""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from sqlalchemy import Connection

from ragtune import job_table
from ragtune.errors import Cancelled, Interrupted, RagtuneError, StorageFull
from ragtune.job import Failure, Job, Progress, Spec, State
from ragtune.pace import Pace, seconds_left
from ragtune.store import Database

_INTERVAL = 0.25  # seconds between two writes of progress


class RunningJob:
    """For one thread. `result` is what the job will be said to have made."""

    def __init__(self, job: Job, database: Database, clock: Callable[[], float]) -> None:
        self.job = job
        self.result: Spec | None = None
        self._database = database
        self._clock = clock
        self._pace = Pace()
        self._latest: Progress | None = None
        self._unwritten: dict[str, Progress] = {}  # by stage, the latest one last
        self._write_at = 0.0

    def progress(
        self, done: int, total: int | None, *, unit: str, stage: str, figures: Mapping[str, float] | None = None
    ) -> None:
        """`done` of `total` units of this stage are done; `figures` are what else is known. Raises Cancelled if the job
        is to stop.

        Cheap to call: it is written down, and looked whether to stop, four times a second at most, and at the
        beginning and the end of a stage. What was left out last is made up for before the stage, or the job, ends.
        """
        percent = 100.0 * done / total if total else None
        latest = Progress(
            stage=stage,
            done=done,
            total=total,
            unit=unit,
            percent=percent,
            rate=None,
            eta_seconds=None,
            figures={name: value for name, value in (figures or {}).items() if math.isfinite(value)},  # JSON has no NaN
        )
        if latest == self._latest:
            return
        begins = self._latest is None or self._latest.stage != stage
        if begins:
            self._pace = Pace()
        self._latest = self._unwritten[stage] = latest
        if begins or done == total or self._clock() >= self._write_at:
            self.check()

    def check(self) -> None:
        """Raises Cancelled if the job is to stop. For where there is nothing to count."""
        with self._database.write(lasting=False) as connection:
            self._write(connection)
            found = job_table.find(connection, self.job.id)
        if found is None or found.state != "running":
            raise Cancelled(f"the {self.job.kind} {self.job.id} was ended by somebody else")
        if found.cancel_requested:
            raise Cancelled(f"the {self.job.kind} {self.job.id} was cancelled")

    def end(self, state: State, error: Failure | None = None) -> None:
        """Write down how it ended, unless somebody else did."""
        with self._database.write() as connection:
            self._write(connection)
            result = self.result if state == "succeeded" else None
            job_table.move(connection, self.job.id, state, result, error)

    def is_to_stop(self) -> bool:
        """Whether somebody asked for it to be cancelled."""
        with self._database.read() as connection:
            return job_table.is_to_stop(connection, self.job.id)

    def _write(self, connection: Connection) -> None:
        now = self._clock()
        self._write_at = now + _INTERVAL
        for progress in self._unwritten.values():
            if progress is self._latest:
                rate = self._pace.at(now, progress.done)
                left = seconds_left(progress.done, progress.total, rate)
                progress = progress.model_copy(update={"rate": rate, "eta_seconds": left})
            job_table.advance(connection, self.job.id, progress)
        self._unwritten.clear()


@contextmanager
def at_work(running: RunningJob) -> Iterator[RunningJob]:
    """Do a job's work inside: however that ends, the job's row says so.

    SIGTERM ends the work as Ctrl-C does. Without anybody having asked to cancel it, the job was interrupted then: a
    service, or a machine, is shutting down. What is raised inside is raised here, too.
    """
    with _terminable() as told:
        try:
            yield running
        except BaseException as reason:
            with suppress(StorageFull):  # without room for that row, the lock that is dropped says that it has ended
                running.end(*_ending(reason, running, told))
            raise
    running.end("succeeded")


def _ending(reason: BaseException, running: RunningJob, told: list[int]) -> tuple[State, Failure | None]:
    if isinstance(reason, Cancelled) or (isinstance(reason, KeyboardInterrupt) and not told) or running.is_to_stop():
        return "cancelled", None
    if isinstance(reason, KeyboardInterrupt):
        reason = Interrupted("its process was told to end before it was done; it can be resumed")
    if isinstance(reason, RagtuneError) and type(reason) is not RagtuneError:
        return "failed", Failure(code=reason.code, message=reason.message)
    message = f"an error nobody expected ({type(reason).__name__}) ended it; the log has the whole of it"
    return "failed", Failure(code=RagtuneError.code, message=message)


@contextmanager
def _terminable() -> Iterator[list[int]]:
    """Let the first SIGTERM interrupt this thread as Ctrl-C does; the list has it then."""
    told: list[int] = []

    def terminated(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        if len(told) == 1:  # another one must not disturb what the first one makes us write
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield told  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
