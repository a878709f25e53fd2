"""Asking: every arm, every example, over HTTP, into a run file.

First a few questions of each arm are asked one at a time, for one token each: that is the time to first token one user
alone would see. Then all are asked concurrently, in the suite's order, with no pause between two arms: a service that
computes modes in one batch stays full until the last answer.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, zip_longest
from pathlib import Path

from eval.client import Service, connect
from eval.metrics import METRICS, score
from eval.observed import Observed
from eval.runfile import Alone, Header, Item, Reply, RunWriter, Shown, Trained
from eval.suite import Arm, Suite, Task, first_of_each_slice
from ragtune.examples import UNANSWERABLE, Example
from ragtune.mode import Mode, Ref
from ragtune.remote import Target
from ragtune.wire import Answer, QueryRequest

Advance = Callable[[str, str | None], None]  # hears of every request: its arm, and the error if it failed
_GRACE = 10.0  # seconds: the service's own deadline should answer first


@dataclass(frozen=True)
class Question:
    """One request to make. `refusals` are the task's own wordings of having no answer; empty: none is expected.
    `labels` are the task's, where a metric reads labels."""

    arm: Arm
    task: Task
    example: Example
    refusals: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def plan(suite: Suite) -> list[list[Question]]:
    """The questions of each arm, in the order asked. Raises RefusedArtifact if examples cannot be read."""
    examples = {task.name: task.read() for task in suite.tasks}
    refusals = {name: _refusals(found) for name, found in examples.items()}
    labels = {task.name: _labels(task, examples[task.name]) for task in suite.tasks}
    planned = []
    for arm in suite.arms:
        asked = _in_turn(
            [
                [(task, example) for example in first_of_each_slice(examples[task.name], arm.limits.get(task.name))]
                for task in suite.asked(arm)
            ]
        )
        planned.append(
            [Question(arm, task, example, refusals[task.name], labels[task.name]) for task, example in asked]
        )
    return planned


async def run_suite(
    suite: Suite, target: Target, folder: Path, questions: list[list[Question]], advance: Advance
) -> float:
    """Ask the service at `target` everything, and write the run into `folder`; returns the seconds it took.

    Raises Unavailable if no service answers or it goes away, and RefusedArtifact if it does not know an arm: that is
    told before any work.
    """
    began = time.monotonic()
    async with connect(target, timeout=suite.timeout + _GRACE, concurrency=suite.concurrency) as service:
        header = await _header(service, suite, target.url)
        with closing(RunWriter(folder)) as writer:

            def keep(item: Item) -> None:
                writer.write(item)
                advance(item.arm, item.error)

            alone = {asked[0].arm.name: await _time_alone(service, suite, asked, advance) for asked in questions}
            await _ask_all(service, suite, list(chain.from_iterable(questions)), keep)
            seconds = time.monotonic() - began
            writer.publish(header.model_copy(update={"alone": alone, "seconds": round(seconds, 2)}))
    return seconds


async def _header(service: Service, suite: Suite, url: str) -> Header:
    """What is known before the first question. Raises as `run_suite` does."""
    return Header(
        suite=suite,
        url=url,
        server=await service.describe(),
        trained=await _trained(service, suite),
        data={task.name: hashlib.sha256(task.examples.read_bytes()).hexdigest() for task in suite.tasks},
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        ragtune=version("ragtune"),
    )


async def _trained(service: Service, suite: Suite) -> dict[str, Trained]:
    """What the adapters of each arm cost. Raises RefusedArtifact for the first arm that cannot be answered."""
    found = {}
    for arm in suite.arms:
        model = await service.check(arm.asked_mode)
        adapters = Mode.parse(model.root if model.kind == "alias" else model.id).adapters
        if adapters:
            found[arm.name] = Trained(seconds=await _training_seconds(service, adapters))
    return found


async def _training_seconds(service: Service, adapters: Sequence[Ref]) -> float | None:
    known = [await service.training_seconds(ref) for ref in adapters]
    return None if None in known else sum(seconds for seconds in known if seconds is not None)


async def _time_alone(service: Service, suite: Suite, questions: list[Question], advance: Advance) -> tuple[Alone, ...]:
    """The times of an arm's first questions; those that fail are left out."""
    times = []
    for question in questions[: suite.alone]:
        outcome = await service.ask(_request(suite, question, question.task.max_tokens))
        advance(question.arm.name, outcome.error)
        if outcome.answer is not None:
            timings = outcome.answer.timings
            times.append(Alone(first_token_ms=timings.first_token_ms, total_ms=timings.total_ms))
    return tuple(times)


async def _ask_all(service: Service, suite: Suite, questions: list[Question], keep: Callable[[Item], None]) -> None:
    free = asyncio.Semaphore(suite.concurrency)

    async def one(question: Question) -> None:
        async with free:
            keep(await _ask(service, suite, question))

    try:
        async with asyncio.TaskGroup() as group:
            for question in questions:
                group.create_task(one(question))
    except BaseExceptionGroup as failures:  # the first reason is what a person can act on
        raise failures.exceptions[0] from failures


async def _ask(service: Service, suite: Suite, question: Question) -> Item:
    """One answer, scored; or the reason why there is none."""
    example, task = question.example, question.task
    outcome = await service.ask(_request(suite, question, task.max_tokens))
    item = Item(
        arm=question.arm.name,
        task=task.name,
        example=example.id,
        slice=example.slice,
        query=example.query,
        answers=example.answers,
        error=outcome.error,
        retries=outcome.retries,
    )
    return item if outcome.answer is None else item.model_copy(update=_judged(question, outcome.answer))


def _request(suite: Suite, question: Question, max_tokens: int) -> QueryRequest:
    return QueryRequest(
        query=question.example.asked, mode=question.arm.asked_mode, max_tokens=max_tokens, deadline=suite.timeout
    )


def _judged(question: Question, answer: Answer) -> dict[str, object]:
    """The fields of an item that an answer fills."""
    reply = _reply(answer)
    scored = score(_observed(question, reply), question.task.metrics)
    return {"reply": reply, **asdict(scored)}


def _observed(question: Question, reply: Reply) -> Observed:
    documents = tuple(dict.fromkeys(passage.document for passage in reply.passages))
    return Observed(
        question.example,
        reply.text,
        labels=question.labels,
        refusals=question.refusals,
        passages=reply.passages,
        ranking=documents if Mode.parse(reply.resolved_mode).rag else None,
    )


def _reply(answer: Answer) -> Reply:
    return Reply(
        id=answer.id,
        text=answer.text,
        finish_reason=answer.finish_reason,
        resolved_mode=answer.resolved_mode,
        versions=answer.versions,
        passages=tuple(Shown(**p.model_dump(include=set(Shown.model_fields))) for p in answer.passages),
        usage=answer.usage,
        timings=answer.timings,
    )


def _refusals(examples: Iterable[Example]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for e in examples if e.slice == UNANSWERABLE for text in e.answers))


def _labels(task: Task, examples: Iterable[Example]) -> tuple[str, ...]:
    if all(METRICS[name].needs != "labels" for name in task.metrics):
        return ()
    return tuple(sorted({example.answers[0] for example in examples if example.slice != UNANSWERABLE}))


def _in_turn(tasks: Sequence[Sequence[tuple[Task, Example]]]) -> list[tuple[Task, Example]]:
    """One of each task in turn, so that the first few questions of an arm are of all its tasks."""
    rounds = chain.from_iterable(zip_longest(*tasks))
    return [asked for asked in rounds if asked is not None]
