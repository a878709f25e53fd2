"""Asking: every arm, every example, over HTTP, and a run file.

Arms come one after the other. The first few examples of each arm and task are asked one at a time, so that their time
to first token is what one user alone would see; the rest is asked concurrently.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import httpx
from pydantic import ValidationError

from eval.metrics import METRICS
from eval.runfile import Header, Item, RunWriter
from eval.suite import Arm, Suite, Task
from ragtune.errors import RefusedArtifact, Unavailable
from ragtune.examples import Example
from ragtune.mode import Mode
from ragtune.wire import Answer, ErrorEnvelope

ALONE = 8  # examples of each arm and task asked one at a time
_RETRIES = 5
_RETRIED = (429, 503)
Advance = Callable[[Item], None]


@dataclass(frozen=True)
class Question:
    """One request to make."""

    arm: Arm
    task: Task
    example: Example
    alone: bool


def plan(suite: Suite) -> list[list[Question]]:
    """The questions of each arm, those asked alone first. Raises RefusedArtifact if examples cannot be read."""
    examples = {task.name: task.read() for task in suite.tasks}
    planned = []
    for arm in suite.arms:
        questions = [
            Question(arm, task, example, alone=number < ALONE)
            for task in suite.asked(arm)
            for number, example in enumerate(examples[task.name])
        ]
        planned.append(sorted(questions, key=lambda question: not question.alone))
    return planned


async def run_suite(suite: Suite, url: str, folder: Path, questions: list[list[Question]], advance: Advance) -> float:
    """Ask everything and write the run into `folder`; returns the seconds it took.

    Raises Unavailable if no service answers, RefusedArtifact if it does not know an arm: that is told before any work.
    """
    started = time.monotonic()
    async with httpx.AsyncClient(base_url=url, timeout=suite.timeout + 10) as client:
        writer = RunWriter(folder, await _header(client, suite, url))
        try:
            for arm_questions in questions:
                await _ask_arm(client, suite, arm_questions, writer, advance)
        finally:
            writer.close()
    return time.monotonic() - started


async def _ask_arm(
    client: httpx.AsyncClient, suite: Suite, questions: list[Question], writer: RunWriter, advance: Advance
) -> None:
    free = asyncio.Semaphore(suite.concurrency)

    async def one(question: Question) -> None:
        async with nullcontext() if question.alone else free:
            item = await _ask(client, suite, question)
        writer.write(item)
        advance(item)

    for question in questions:
        if question.alone:
            await one(question)
    async with asyncio.TaskGroup() as group:
        for question in questions:
            if not question.alone:
                group.create_task(one(question))


async def _ask(client: httpx.AsyncClient, suite: Suite, question: Question) -> Item:
    """One answer, scored. Overload is waited out a bounded number of times; any other failure is recorded."""
    example = question.example
    item = Item(
        arm=question.arm.mode,
        task=question.task.name,
        example=example.id,
        slice=example.slice,
        query=example.query,
        answers=example.answers,
        gold_documents=example.gold_documents,
        alone=question.alone,
    )
    body = {
        "query": example.query,
        "mode": question.arm.mode,
        "max_tokens": question.task.max_tokens,
        "deadline": suite.timeout,
    }
    for attempt in range(_RETRIES + 1):
        try:
            response = await client.post("/v1/query", json=body)
        except httpx.HTTPError as error:
            return item.model_copy(update={"error": f"{type(error).__name__}: {error}", "retries": attempt})
        if response.status_code not in _RETRIED or attempt == _RETRIES:
            break
        await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
    if response.is_error:
        return item.model_copy(update={"error": _reason(response), "retries": attempt})
    answer = Answer.model_validate_json(response.content)
    scores = {name: METRICS[name](answer.text, example.answers) for name in question.task.metrics}
    return item.model_copy(update={"answer": answer, "scores": scores, "retries": attempt})


async def _header(client: httpx.AsyncClient, suite: Suite, url: str) -> Header:
    try:
        health = (await client.get("/healthz")).raise_for_status().json()
    except httpx.HTTPError as error:
        raise Unavailable(f"no ragtune service answers at {url} ({error}); start one with 'ragtune serve'") from error
    names = {ref.name for arm in suite.arms for ref in Mode.parse(arm.mode).adapters}
    seconds: dict[str, float] = {}
    for arm in suite.arms:
        response = await client.get(f"/v1/models/{arm.mode}")
        if response.is_error:
            raise RefusedArtifact(f"arm {arm.mode!r}: {_reason(response)}")
    for name in sorted(names):
        training = (await client.get(f"/v1/adapters/{name}")).json()["manifest"]["training"]
        if training is not None:
            seconds[name] = training["seconds"]
    return Header(
        suite=suite,
        url=url,
        base=health["base"],
        note=health["note"],
        fingerprint=health["fingerprint"],
        device=health["device"],
        training_seconds=seconds,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        ragtune=version("ragtune"),
    )


def _reason(response: httpx.Response) -> str:
    try:
        message = ErrorEnvelope.model_validate_json(response.content).error.message
    except ValidationError:
        message = response.text[:200]
    return f"HTTP {response.status_code}: {message}"
