"""Jobs: long work on one resource, one at a time, that any process of the home can follow, cancel and resume.

    with jobs.run("index build", "index:handbook", spec) as running:      whoever does it in its own process
        running.progress(done, total, unit="passages", stage="embedding")

    queued = jobs.queue("index build", "index:handbook", spec)            the service, which starts a worker ...
    with jobs.take(job_id) as running:                                    ... that does it

The rows are the truth. A job is at work as long as its lock is held (`ragtune/job_lock.py`). Whoever meets one whose
lock is free, because its process died, says so in its row: at a start, on reading it, and when its resource is wanted.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from ragtune import job_table
from ragtune.errors import AlreadyRunning, Cancelled, IncompatibleParts, Interrupted, UnknownName
from ragtune.job import ENDED, Failure, Job, JobEvent, Kind, Spec, State
from ragtune.job_lock import JobLock, is_held
from ragtune.running_job import RunningJob, at_work
from ragtune.store import Database

_GONE = "the process that was at it has ended without a word; it can be resumed"
_POLL = 0.25  # seconds
_MOST_TAIL = 1 << 20  # bytes


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits for its worker, and the lock that worker is to be started with, as its standard input."""

    job: Job
    lock: JobLock


class Jobs:
    """All jobs of one home. Safe to use from several processes and threads."""

    def __init__(self, database: Database, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = home / "jobs"
        self._database = database
        self._clock = clock

    def queue(
        self, kind: Kind, resource: str, spec: Spec, *, author: str = "", tenant: str = "", resumes: str | None = None
    ) -> QueuedJob:
        """A new job; whoever asked for it is its worker, or starts one with the lock.

        Raises AlreadyRunning if there is a job at work on the resource, which it names; UnknownName or
        IncompatibleParts if `resumes` names no job of this tenant that another one can go on with.
        """
        self.recover()
        job = Job(
            id=f"job-{secrets.token_hex(5)}",
            kind=kind,
            resource=resource,
            state="queued",
            spec=spec,
            author=author,
            tenant=tenant,
            created=job_table.now(),
            resumes=resumes,
        )
        lock = JobLock.acquire(self._lock(job.id))
        try:
            gone = self._add(job)
        except BaseException:
            lock.release()
            raise
        for job_id in gone:
            for left in (self.log(job_id), self._lock(job_id)):
                left.unlink(missing_ok=True)
        return QueuedJob(job, lock)

    @contextmanager
    def run(
        self, kind: Kind, resource: str, spec: Spec, *, author: str = "", tenant: str = "", resumes: str | None = None
    ) -> Iterator[RunningJob]:
        """Do a new job's work inside. Raises what `queue` raises, and what is raised inside."""
        queued = self.queue(kind, resource, spec, author=author, tenant=tenant, resumes=resumes)
        with self._running(queued.job, queued.lock) as running:
            yield running

    @contextmanager
    def take(self, job_id: str) -> Iterator[RunningJob]:
        """Do the work of a queued job inside, in the process that was started with its lock.

        Raises UnknownName, IncompatibleParts in any other process, Cancelled if nobody wants it any more, and what is
        raised inside.
        """
        job = self.get(job_id)
        lock = JobLock.inherited(self._lock(job_id))
        if lock is None:
            raise IncompatibleParts(
                f"{job_id} is the work of a process that the service starts; start a new {job.kind}"
            )
        with self._running(job, lock) as running:
            yield running

    def check_free(self, resource: str) -> None:
        """Raises AlreadyRunning, as `queue` does, while a job is at work on the resource."""
        self.recover()
        with self._database.read() as connection:
            for other in job_table.active(connection, resource):
                raise AlreadyRunning(_at_work(other, ""))

    def cancel(self, job_id: str, tenant: str = "") -> Job:
        """Ask for a job to stop; the job as it is then. One that is queued has ended at once, one that runs stops when
        its worker hears of it.

        Raises UnknownName, and IncompatibleParts for a job that has ended otherwise.
        """
        self.get(job_id, tenant)  # one whose process is gone has ended
        with self._database.write() as connection:
            job = self._find(connection, job_id, tenant)
            if job.state in ("succeeded", "failed"):
                raise IncompatibleParts(f"the {job.kind} {job_id} has {job.state} already; there is nothing to cancel")
            job_table.ask_to_stop(connection, job_id)
            if job.state == "queued":
                job_table.move(connection, job_id, "cancelled")
            return self._find(connection, job_id, tenant)

    def is_to_stop(self, job_id: str) -> bool:
        """Whether somebody asked for the job to be cancelled."""
        with self._database.read() as connection:
            return job_table.is_to_stop(connection, job_id)

    def get(self, job_id: str, tenant: str = "") -> Job:
        """The job, as it is now. With a tenant, one of its own. Raises UnknownName with near matches."""
        with self._database.read() as connection:
            job = self._find(connection, job_id, tenant)
        if self._is_dead(job):
            self.bury(job_id, _GONE)
            return self.get(job_id, tenant)
        return job

    def newest(
        self,
        limit: int,
        *,
        kind: Kind | None = None,
        resource: str | None = None,
        state: State | None = None,
        tenant: str = "",
    ) -> list[Job]:
        """Up to `limit` jobs, newest first; of one kind, resource, state or tenant where these are given."""
        self.recover()
        with self._database.read() as connection:
            return job_table.select(connection, limit, kind=kind, resource=resource, state=state, tenant=tenant or None)

    def events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        """What happened to a job since its event `after`, oldest first; of its progress, the last minutes."""
        with self._database.read() as connection:
            return job_table.events(connection, job_id, after)

    def follow(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """What happens to a job, as it happens, to its end. Raises UnknownName."""
        while True:
            ended = self.get(job_id).ended  # before the events, so that its last one is among them
            for event in self.events(job_id, after):
                after = event.seq
                yield event
            if ended:
                return
            time.sleep(_POLL)

    def recover(self) -> list[str]:
        """Say of every job whose process is gone that it has ended; their ids."""
        with self._database.read() as connection:
            dead = [job.id for job in job_table.active(connection) if self._is_dead(job)]
        for job_id in dead:
            self.bury(job_id, _GONE)
        return dead

    def bury(self, job_id: str, reason: str) -> None:
        """Say of a job whose process is gone that it has ended, if nobody did: cancelled, if that was asked for, else
        failed for this reason."""
        with self._database.write() as connection:
            job = job_table.find(connection, job_id)
            if job is None:
                return
            if job.cancel_requested:
                job_table.move(connection, job_id, "cancelled")
            else:
                error = Failure(code=Interrupted.code, message=f"{job.kind} of {job.resource}: {reason}")
                job_table.move(connection, job_id, "failed", error=error)
        self._lock(job_id).unlink(missing_ok=True)

    def log(self, job_id: str) -> Path:
        """Where the worker of a job writes what it has to say; kept as long as the job is, where it said anything."""
        return self.folder / f"{job_id}.log"

    def tail(self, job_id: str, lines: int) -> list[str]:
        """The last lines of a job's log, of its last mebibyte; none of a job that has none, as one of a command, which
        speaks in its terminal."""
        try:
            with self.log(job_id).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_TAIL))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

    @contextmanager
    def _running(self, job: Job, lock: JobLock) -> Iterator[RunningJob]:
        try:
            with self._database.write() as connection:
                started = job_table.move(connection, job.id, "running")
            if not started:
                raise Cancelled(f"the {job.kind} {job.id} was cancelled before it began")
            with at_work(RunningJob(self.get(job.id), self._database, self._clock)) as running:
                yield running
        finally:
            lock.release()

    def _add(self, job: Job) -> list[str]:
        with self._database.write() as connection:
            for other in job_table.active(connection, job.resource):
                raise AlreadyRunning(_at_work(other, job.tenant))
            if job.resumes is not None:
                _check_resumed(job, self._find(connection, job.resumes, job.tenant))
            job_table.add(connection, job)
            return job_table.forget_old(connection)

    def _find(self, connection: Connection, job_id: str, tenant: str) -> Job:
        job = job_table.find(connection, job_id)
        if job is None or (tenant and job.tenant != tenant):
            known = job_table.select(connection, job_table.KEPT, tenant=tenant or None)
            raise UnknownName.among("job", job_id, [other.id for other in known], param="id")
        return job

    def _is_dead(self, job: Job) -> bool:
        return not job.ended and not is_held(self._lock(job.id))

    def _lock(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.lock"


def _at_work(other: Job, tenant: str) -> str:
    """Why a second job of the resource must wait. Of another tenant's job a tenant is told only that it is there."""
    told = f"{other.resource} has a job already"
    if tenant and other.tenant != tenant:
        return f"{told}, of somebody else; try again when it is done"
    how_far = f", {other.progress}" if other.progress else ""
    since = other.started or other.created
    return (
        f"{told}: the {other.kind} {other.id}, {other.state} since {since}{how_far}. Watch it with 'ragtune job watch "
        f"{other.id}' or GET /v1/jobs/{other.id}/events; cancel it with 'ragtune job cancel {other.id}' or POST "
        f"/v1/jobs/{other.id}/cancel"
    )


def _check_resumed(job: Job, before: Job) -> None:
    if (before.kind, before.resource) != (job.kind, job.resource):
        raise IncompatibleParts(
            f"{before.id} was the {before.kind} of {before.resource}; a {job.kind} of {job.resource} cannot resume it",
            param="resumes",
        )
    if before.state not in ENDED or before.state == "succeeded":
        raise IncompatibleParts(f"{before.id} is {before.state}; there is nothing to resume", param="resumes")
