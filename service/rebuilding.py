"""Builds of indexes as the service runs them: one at a time for each, in a process of its own, as a job.

Uploads ask for a build `soon`: those that come while one runs share the next, which begins when that one has ended, so
that whoever waits for it finds what was uploaded.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from indexer.building import JOB, BuildSpec
from indexer.store import resource
from ragtune.errors import AlreadyRunning, RagtuneError
from ragtune.job import Job
from ragtune.jobs import QueuedJob
from service.working import Workers

log = logging.getLogger("ragtune.jobs")
_COMMAND = ("indexer.building",)
_POLL = 0.25  # seconds between two tries while another build of the index runs


class Rebuilding:
    """The builds of one service."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._next: dict[str, asyncio.Task[Job]] = {}  # by index, the build that has not begun
        self._beside: set[asyncio.Task[Any]] = set()  # what nobody waits for
        self.afterwards: Callable[[str], Awaitable[object]] | None = None  # what is done for an index once it is built

    async def start(self, spec: BuildSpec, author: str, tenant: str, resumes: str | None = None) -> Job:
        """Begin a build. Raises AlreadyRunning, with how to watch it, while there is one of this index."""
        return await self._work(await self._queue(spec, author, tenant, resumes), spec.index)

    async def done(self, job: Job) -> Job:
        """The job at its end. Raises the error it failed with, and Interrupted if it was cancelled."""
        return await self._workers.done(job)

    async def soon(self, index: str, author: str, tenant: str) -> Job:
        """A build that begins after this call, at its end: for whoever waits for what was just stored."""
        if index not in self._next:
            self._next[index] = asyncio.create_task(self._begin(index, author, tenant))
            self._next[index].add_done_callback(_look)
        return await self.done(await asyncio.shield(self._next[index]))

    def later(self, index: str, author: str, tenant: str) -> None:
        """The same, for nobody who waits."""
        self._do_beside(self.soon(index, author, tenant))

    async def close(self) -> None:
        """Begin none of those that have not begun; their documents are in the next build."""
        tasks = (*self._next.values(), *self._beside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self, index: str, author: str, tenant: str) -> Job:
        try:
            while True:
                with suppress(AlreadyRunning):
                    queued = await self._queue(BuildSpec(index=index), author, tenant, None)
                    break
                await asyncio.sleep(_POLL)
        finally:
            del self._next[index]  # whatever is stored from now on may come too late for this one
        return await self._work(queued, index)

    async def _work(self, queued: QueuedJob, index: str) -> Job:
        await self._workers.start(queued, _COMMAND)
        self._do_beside(self._follow(queued.job, index))
        return queued.job

    async def _follow(self, job: Job, index: str) -> None:
        ended = await self._workers.wait(job.id)
        if ended.state == "succeeded" and self.afterwards is not None:
            await self.afterwards(index)

    def _do_beside(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        task.add_done_callback(_look)

    async def _queue(self, spec: BuildSpec, author: str, tenant: str, resumes: str | None) -> QueuedJob:
        asked = spec.model_dump(mode="json")
        return await self._workers.queue(
            JOB, resource(spec.index), asked, author=author, tenant=tenant, resumes=resumes
        )


def _look(task: asyncio.Task[Any]) -> None:
    """Errors are told by the job, and to whoever waits; here they only must not go unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        told = error.message if isinstance(error, RagtuneError) else repr(error)
        log.warning("a build that documents had asked for: %s", told)
