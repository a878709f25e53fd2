"""The whole service; everything else is a detail of one line here.

prepare     mode -> configuration -> passages -> prompt -> admitted       all that can fail with a status
pieces      tokens -> text                                                 as it is generated
collect     the pieces as one Answer
"""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ragtune.errors import ContextLengthExceeded, IncompatibleParts, InvalidRequest, Unavailable
from ragtune.prompt import Message, Prompt, render, within_budget
from ragtune.wire import Answer, CitedPassage, FinishReason, Passage, Sampling, Timings, Usage
from service.catalog import Configuration
from service.detokenise import Detokeniser, StopStrings
from service.engine.client import Stream
from service.engine.messages import Generation
from service.parts import Parts

_CITATION = re.compile(r"\[(\d+)\]")
DEFAULT_NEW_TOKENS = 512  # where a client does not say, at most this many, or what the window leaves


@dataclass(frozen=True)
class Ask:
    """One generation asked for. `prompt_ids` replaces messages where the client sent a raw prompt."""

    mode: str
    sampling: Sampling
    messages: tuple[Message, ...] = ()
    prompt_ids: tuple[int, ...] | None = None
    max_tokens: int | None = None
    top_k: int | None = None
    passage_tokens: int | None = None
    deadline: float | None = None
    request_id: str = ""


@dataclass
class Prepared:
    """An admitted generation. `text` and `reason` grow while `pieces` is read."""

    id: str
    configuration: Configuration
    prompt: Prompt
    passages: list[Passage]
    retrieved: int
    stream: Stream
    stops: tuple[str, ...]
    retrieval_ms: float
    started: float
    text: str = ""
    stopped: bool = False
    tokens: int = 0
    first_token: float | None = None


async def prepare(ask: Ask, parts: Parts) -> Prepared:
    """All that may still fail with an HTTP status happens here, before the first byte."""
    parts.engine.check_room(parts.lifecycle.preparing)  # before retrieval, so that a full house is told at once
    parts.lifecycle.preparing += 1
    try:
        return await _admitted(ask, parts)
    finally:
        parts.lifecycle.preparing -= 1


async def _admitted(ask: Ask, parts: Parts) -> Prepared:
    started = time.monotonic()
    configuration = parts.catalog.resolve(ask.mode)
    found, retrieval_ms = await _retrieve(ask, configuration, parts)
    passages = _budgeted(found, ask, configuration, parts)
    prompt = _prompt(ask, passages, configuration, parts)
    sampling = ask.sampling.model_copy(update={"max_tokens": _room(ask, prompt, configuration, parts)})
    unique = uuid.uuid4().hex
    generation = Generation(
        request_id=f"{ask.request_id}.{unique}",  # so the engine's log can be found by what the client was told
        token_ids=prompt.token_ids,
        sampling=sampling,
        weights=configuration.weights,
        prefix=configuration.prefix,
        eos_ids=parts.tokenizer.eos_ids,
        deadline=min(ask.deadline or parts.settings.deadline, parts.settings.deadline),
    )
    stream = await parts.engine.admit(generation)
    return Prepared(
        id=f"gen-{unique}",
        configuration=configuration,
        prompt=prompt,
        passages=passages,
        retrieved=len(found),
        stream=stream,
        stops=sampling.stop,
        retrieval_ms=retrieval_ms,
        started=started,
    )


async def pieces(prepared: Prepared, parts: Parts) -> AsyncGenerator[str]:
    """Text as it is generated, up to the first stop string. Leaving early, or an error, frees the slot."""
    detokeniser, stops = Detokeniser(parts.tokenizer.decode), StopStrings(prepared.stops)
    try:
        async for event in prepared.stream:
            prepared.tokens += 1
            if prepared.first_token is None:
                prepared.first_token = time.monotonic()
            if shown := stops.push(detokeniser.push(event.token_id)):
                prepared.text += shown
                yield shown
            if stops.found:
                prepared.stopped = True
                return
        rest = stops.push(detokeniser.flush())
        prepared.stopped = stops.found
        if rest := rest + stops.flush():
            prepared.text += rest
            yield rest
    finally:
        prepared.stream.cancel()


async def collect(prepared: Prepared, parts: Parts) -> Answer:
    """The whole answer."""
    async with aclosing(pieces(prepared, parts)) as text:
        async for _ in text:
            pass
    return answer(prepared)


async def answer_all(asks: Sequence[Ask], parts: Parts) -> list[Answer]:
    """Answers of several generations, computed together. If one cannot be prepared, none runs."""
    prepared: list[Prepared] = []
    collecting: list[asyncio.Task[Answer]] = []
    try:
        for ask in asks:
            prepared.append(await prepare(ask, parts))
        collecting = [asyncio.create_task(collect(each, parts)) for each in prepared]
        return list(await asyncio.gather(*collecting))
    finally:
        for task in collecting:
            task.cancel()
        for each in prepared:
            each.stream.cancel()


def answer(prepared: Prepared) -> Answer:
    """What is known once the last piece was read."""
    configuration, finish = prepared.configuration, prepared.stream.finish
    cited = {int(number) for number in _CITATION.findall(prepared.text)}
    first = prepared.first_token or time.monotonic()
    return Answer(
        id=prepared.id,
        mode=configuration.asked,
        resolved_mode=configuration.mode,
        versions=configuration.versions,
        text=prepared.text,
        finish_reason=finish_reason(prepared),
        passages=[
            CitedPassage(**passage.model_dump(), number=number, cited=number in cited)
            for number, passage in enumerate(prepared.passages, start=1)
        ],
        passages_retrieved=prepared.retrieved,
        usage=Usage(
            prompt_tokens=len(prepared.prompt.token_ids),
            completion_tokens=finish.completion_tokens if finish else prepared.tokens,
            cached_tokens=finish.cached_tokens if finish else 0,
            virtual_tokens=_virtual(configuration),
        ),
        timings=Timings(
            retrieval_ms=round(prepared.retrieval_ms, 2),
            queue_ms=round(finish.queue_ms, 2) if finish else 0.0,
            first_token_ms=round(1e3 * (first - prepared.started), 2),
            total_ms=round(1e3 * (time.monotonic() - prepared.started), 2),
        ),
    )


def finish_reason(prepared: Prepared) -> FinishReason:
    """Why it ended: a stop string or token, or the limit."""
    finish = prepared.stream.finish
    return "stop" if prepared.stopped or finish is None else finish.reason


async def _retrieve(ask: Ask, configuration: Configuration, parts: Parts) -> tuple[list[Passage], float]:
    """Passages for the last user message; searched in a thread, as embedding takes milliseconds of one core."""
    if configuration.index is None:
        return [], 0.0
    if ask.prompt_ids is not None:
        raise IncompatibleParts("a raw prompt has no place for passages; use /v1/chat/completions or /v1/query")
    started = time.monotonic()
    top_k = ask.top_k or parts.settings.top_k
    question = ask.messages[-1].content
    try:
        found = await asyncio.to_thread(parts.retriever.search, configuration.index, question, top_k)
    except (OSError, RuntimeError, ValueError, IndexError) as error:  # deleted since it was resolved, or damaged
        raise Unavailable(f"index {configuration.index} cannot be read; if it is still listed, rebuild it") from error
    return found, 1e3 * (time.monotonic() - started)


def _budgeted(found: list[Passage], ask: Ask, configuration: Configuration, parts: Parts) -> list[Passage]:
    budget = ask.passage_tokens or parts.settings.passage_tokens
    return within_budget(found, budget, configuration.template, parts.tokenizer)


def _prompt(ask: Ask, passages: list[Passage], configuration: Configuration, parts: Parts) -> Prompt:
    if ask.prompt_ids is None:
        return render(ask.messages, passages, configuration.template, parts.tokenizer)
    if "template" in configuration.versions:
        raise IncompatibleParts("a raw prompt takes no template; use /v1/chat/completions or /v1/query")
    vocabulary = parts.engine.info.vocab_size
    if not all(0 <= token < vocabulary for token in ask.prompt_ids):
        raise InvalidRequest(f"the prompt has token ids outside 0..{vocabulary - 1}", param="prompt")
    return Prompt(ask.prompt_ids, parts.tokenizer.decode(ask.prompt_ids))


def _room(ask: Ask, prompt: Prompt, configuration: Configuration, parts: Parts) -> int:
    """New tokens to ask the engine for. Raises ContextLengthExceeded if the prompt, or what was asked, cannot fit."""
    window = parts.engine.info.max_model_len
    taken = _virtual(configuration) + len(prompt.token_ids)
    wanted = ask.max_tokens or 1
    if taken + wanted > window:
        virtual = f" and {_virtual(configuration)} virtual" if configuration.prefix else ""
        raise ContextLengthExceeded(
            f"this model's window is {window} tokens; {taken + wanted} were asked for: "
            f"{len(prompt.token_ids)} in the prompt{virtual}, {wanted} to generate",
            param="messages" if ask.prompt_ids is None else "prompt",
        )
    return ask.max_tokens or min(DEFAULT_NEW_TOKENS, window - taken)


def _virtual(configuration: Configuration) -> int:
    return configuration.prefix.virtual_tokens if configuration.prefix else 0
