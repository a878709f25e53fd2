"""The prover as the service sees it: a niced process that is there while adapters are being registered."""

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterManifest
from adapters.prover import Job, Outcome
from ragtune.errors import RefusedArtifact, Unavailable, by_code

log = logging.getLogger("ragtune.prover")
_IDLE = 120.0  # seconds without a job after which the process, and with it its copy of the base model, is let go
_LONGEST = 900.0  # seconds a job may take; niced beside a busy engine it takes many times its own
_LINE = 16 << 20  # bytes of an answer


class ProverProcess:
    """Prepares one adapter after the other in a process of its own, started when it is first needed."""

    def __init__(self, base: BaseModelInfo, cache: Path) -> None:
        self._command = (sys.executable, "-P", "-m", "adapters.prover", str(base.folder), str(cache), base.id)
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def prepare(self, source: Path, staged: Path) -> AdapterManifest:
        """Fill `staged` from `source`, and say what it is. Raises what `Preparing.prepare` raises.

        A process that dies of a job, or does not end, is one more reason to refuse the adapter.
        """
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            process = await self._started()
            try:
                outcome = await self._ask(process, Job(source=source, staged=staged))
            except BaseException:
                await self._end()  # whatever it is at, nobody waits for it any more
                raise
            self._idle = asyncio.get_running_loop().call_later(_IDLE, self._let_go)
        if outcome.manifest is None:
            raise by_code(outcome.code, outcome.message)
        return AdapterManifest.model_validate_json(outcome.manifest)

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        await self._end()

    async def _ask(self, process: Process, job: Job) -> Outcome:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(job.model_dump_json().encode() + b"\n")
        try:
            async with asyncio.timeout(_LONGEST):
                await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError as error:
            raise RefusedArtifact(f"checking it took longer than {_LONGEST:.0f} seconds; it was given up") from error
        except ConnectionError as error:
            raise Unavailable("the process that checks adapters ended; try again") from error
        if not line:
            raise RefusedArtifact(
                "the process that checks adapters died of this one, perhaps for want of memory; the log may say more"
            )
        return Outcome.model_validate_json(line)

    async def _started(self) -> Process:
        if self._process is not None and self._process.stdin is not None and self._process.stdin.is_closing():
            await self._end()  # it was just let go
        if self._process is None or self._process.returncode is not None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
            # A group of its own, so that Ctrl-C is ours to act on; no session of its own: Linux may give each session
            # an equal share of the machine (autogroup), and then being nice counts for nothing outside of it.
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=_LINE, env=environment, process_group=0
            )
        return self._process

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None and not self._turn.locked():
            self._process.stdin.close()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
