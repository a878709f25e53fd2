"""Workers: the processes that do jobs beside the service, niced and on few threads each.

A worker is started with its job's lock, so a job is never without somebody who has it (`ragtune/job_lock.py`): not
before its worker has begun, and not when this process is killed, which its workers outlive. What it writes on its
standard error is in a file beside the lock, for the same reason.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Coroutine, Sequence
from pathlib import Path

from ragtune.errors import RagtuneError
from ragtune.job import Job, Kind, Spec
from ragtune.jobs import Jobs, QueuedJob

log = logging.getLogger("ragtune.jobs")
_NICE = 10
_GRACE = 30.0  # seconds between being asked to end and being made to: a step of a training, and saving its state
_POLL = 0.25  # seconds between two looks whether a job is to be cancelled
_TAIL = 40  # lines of what a worker that failed has written


class Workers:
    """The workers of one service."""

    def __init__(self, jobs: Jobs, home: Path, grace: float = _GRACE) -> None:
        self._jobs = jobs
        self._home = home
        self._grace = grace
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._turn = asyncio.Lock()

    async def queue(
        self, kind: Kind, resource: str, spec: Spec, *, author: str, tenant: str, resumes: str | None
    ) -> QueuedJob:
        """A new job, to be started at once. Whoever is cancelled while it is written down has withdrawn it.

        Raises what `Jobs.queue` raises.
        """
        queuing = asyncio.ensure_future(
            asyncio.to_thread(self._jobs.queue, kind, resource, spec, author=author, tenant=tenant, resumes=resumes)
        )
        try:
            return await asyncio.shield(queuing)
        except asyncio.CancelledError:
            with contextlib.suppress(RagtuneError):
                await self._withdraw(await queuing)
            raise

    async def start(self, queued: QueuedJob, command: Sequence[str], threads: int = 1) -> None:
        """Start `python -m COMMAND --job ID` on a job that was just queued, and watch it to its end.

        If it cannot be started the job has failed, and why is raised.
        """
        process = await self._begun(queued, command, threads)
        self._follow(queued.job, self._watch(queued.job, process))

    def start_in_turn(self, queued: QueuedJob, command: Sequence[str], threads: int = 1) -> None:
        """The same, once all others that were to start in turn have ended: for work of which the machine bears one.

        Until then the job is queued, and can be cancelled.
        """
        self._follow(queued.job, self._in_turn(queued, command, threads))

    async def wait(self, job_id: str) -> Job:
        """The job when its worker is gone. Whoever is cancelled while waiting leaves the worker at it."""
        if job_id in self._watched:
            await asyncio.wait({self._watched[job_id]})
        return await asyncio.to_thread(self._jobs.get, job_id)

    async def done(self, job: Job) -> Job:
        """The job at its end. Raises the error it failed with, and Interrupted if it was cancelled."""
        ended = await self.wait(job.id)
        ended.check()
        return ended

    async def close(self) -> None:
        """End all workers; a job that is not done is failed then, and can be resumed."""
        self._closing.set()
        if self._watched:
            await asyncio.wait(self._watched.values())

    def _follow(self, job: Job, work: Coroutine[None, None, None]) -> None:
        following = asyncio.create_task(work)
        self._watched[job.id] = following
        following.add_done_callback(lambda _: self._watched.pop(job.id, None))

    async def _in_turn(self, queued: QueuedJob, command: Sequence[str], threads: int) -> None:
        mine = asyncio.create_task(self._turn.acquire())
        unwanted = asyncio.create_task(self._unwanted(queued.job))
        await asyncio.wait({mine, unwanted}, return_when=asyncio.FIRST_COMPLETED)
        if unwanted.done():
            if not mine.cancel():
                self._turn.release()
            await self._withdraw(queued)
            return
        unwanted.cancel()
        try:
            process = await self._begun(queued, command, threads)
            await self._watch(queued.job, process)
        except Exception:
            log.exception("%s of %s (%s) could not be started", queued.job.kind, queued.job.resource, queued.job.id)
        finally:
            self._turn.release()

    async def _begun(self, queued: QueuedJob, command: Sequence[str], threads: int) -> Process:
        try:
            return await self._spawn(queued, command, threads)
        except BaseException:
            self._jobs.bury(queued.job.id, "its process could not be started")
            raise
        finally:
            queued.lock.hand_over()

    async def _withdraw(self, queued: QueuedJob) -> None:
        """Nobody will start a worker for it, and nobody else can."""
        queued.lock.release()
        await asyncio.to_thread(self._jobs.bury, queued.job.id, "the service ended before it began; it can be resumed")

    async def _spawn(self, queued: QueuedJob, command: Sequence[str], threads: int) -> Process:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        environment["RAGTUNE_HOME"] = str(self._home)
        with self._jobs.log(queued.job.id).open("wb") as output:
            # A group of its own, so that Ctrl-C is ours to act on, and not a session: see service/proving.py.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", *command, "--job", queued.job.id),
                stdin=queued.lock.file,
                stdout=DEVNULL,
                stderr=output,
                env=environment,
                process_group=0,
            )
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        return process

    async def _watch(self, job: Job, process: Process) -> None:
        ended = asyncio.create_task(process.wait())
        unwanted = asyncio.create_task(self._unwanted(job))
        await asyncio.wait({ended, unwanted}, return_when=asyncio.FIRST_COMPLETED)
        unwanted.cancel()
        if not ended.done():
            await self._end(process, ended)
        code = await ended
        await asyncio.to_thread(self._conclude, job.id, code)

    async def _unwanted(self, job: Job) -> None:
        """Wait until the job is to be cancelled, or the service closes."""
        while not self._closing.is_set() and not await asyncio.to_thread(self._jobs.is_to_stop, job.id):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _POLL)

    async def _end(self, process: Process, ended: asyncio.Task[int]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            await asyncio.wait({ended}, timeout=self._grace)
            if ended.done():
                return

    def _conclude(self, job_id: str, code: int) -> None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._jobs.bury(job_id, f"its process ended with {how} before it was done; it can be resumed")
        job, written = self._jobs.get(job_id), self._jobs.log(job_id)
        if job.state == "failed":
            tail = "\n".join(self._jobs.tail(job_id, _TAIL))
            log.warning("%s of %s (%s) failed, %s: %s", job.kind, job.resource, job_id, how, tail.strip())
        if written.exists() and not written.stat().st_size:
            written.unlink()
