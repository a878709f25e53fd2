"""From a suite that is sent over HTTP to an evaluation that has begun: what can be refused is refused before it has.

Examples that are sent along are kept in the run's folder. What knows suites is `eval`, which the service does not
import: it is asked in a process of its own.
"""

import asyncio
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from pydantic import JsonValue

from ragtune.errors import RagtuneError, Unavailable, by_code
from ragtune.evaluation import JOB, Checked, EvaluationSpec, ToCheck
from ragtune.examples import Example
from ragtune.full_disk import full_disk_told
from ragtune.job import Job
from service.parts import Parts

_COMMAND = ("eval.job",)
_CHECK = (sys.executable, "-P", "-m", "eval.check")
_PATIENCE = 60.0  # seconds for reading the files of a suite
_SENT = "sent"


async def evaluate(
    parts: Parts, suite: dict[str, JsonValue], sent: Mapping[int, Sequence[Example]], author: str
) -> Job:
    """Begin an evaluation, in a process of its own, once trainings and evaluations that were asked for before have
    ended. `sent` are the examples of tasks, by place, that came with the request.

    Raises what `_check` raises, and StorageFull; then nothing is left of it.
    """
    name = f"eval-{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"
    folder = parts.settings.runs / name
    writing = asyncio.ensure_future(asyncio.to_thread(_kept, suite, sent, folder))
    try:
        spec = EvaluationSpec(suite=await asyncio.shield(writing), run=name)
        return await begin(parts, spec, author)
    except BaseException:
        await asyncio.wait([writing])  # of a request that is given up, too: what it writes later would stay
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise


async def begin(parts: Parts, spec: EvaluationSpec, author: str, resumes: str | None = None) -> Job:
    """Begin it, or go on with the one that it resumes. Raises as `evaluate` does."""
    await _check(parts, spec)
    asked = spec.model_dump(mode="json")
    resource = f"evaluation:{spec.run}"  # each its own, so that a second one is not refused but waits its turn
    queued = await parts.workers.queue(JOB, resource, asked, author=author, tenant="", resumes=resumes)
    parts.workers.start_in_turn(queued, _COMMAND)  # times taken beside a training would say nothing
    return queued.job


def _kept(suite: dict[str, JsonValue], sent: Mapping[int, Sequence[Example]], folder: Path) -> dict[str, JsonValue]:
    """The suite with files in the place of examples that were sent."""
    tasks = suite["tasks"]
    assert isinstance(tasks, list)
    placed = list(tasks)
    with full_disk_told(folder):
        for place, examples in sent.items():
            path = folder.resolve() / _SENT / f"task-{place}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (f"{example.model_dump_json(exclude_defaults=True)}\n" for example in examples)
            path.write_text("".join(lines), encoding="utf-8")
            task = tasks[place]
            assert isinstance(task, dict)
            placed[place] = {**task, "examples": str(path)}
    return {**suite, "tasks": placed}


async def _check(parts: Parts, spec: EvaluationSpec) -> None:
    """Raises InvalidRequest for a suite that is none, Forbidden for files outside RAGTUNE_EVALUATION_ROOTS and for
    outside endpoints, RefusedArtifact for examples that cannot be read, UnknownName or IncompatibleParts for a mode."""
    folder = (parts.settings.runs / spec.run).resolve()
    roots = (*map(str, parts.settings.evaluation_roots), str(folder))
    checked = await _asked(ToCheck(suite=spec.suite, roots=roots))
    if refusal := checked.refusal:
        message = refusal.message.replace(f"{folder / _SENT}/", "")  # whoever sent examples knows no file of ours
        error = by_code(refusal.code, message)
        error.param = refusal.param
        raise error
    for field, mode in checked.modes.items():
        try:
            parts.catalog.resolve(mode)
        except RagtuneError as error:
            error.param = field
            raise


async def _asked(suite: ToCheck) -> Checked:
    """What `eval` says of it. Raises Unavailable if that takes too long, RuntimeError if it says nothing."""
    process = await asyncio.create_subprocess_exec(*_CHECK, stdin=PIPE, stdout=PIPE, stderr=PIPE, process_group=0)
    try:
        async with asyncio.timeout(_PATIENCE):
            said, errors = await process.communicate(suite.model_dump_json().encode())
    except TimeoutError as error:
        raise Unavailable(f"the files of the suite were not read within {_PATIENCE:.0f} s; send fewer") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"eval.check ended with {process.returncode}: {errors.decode(errors='replace')[-2000:]}")
    return Checked.model_validate_json(said)
