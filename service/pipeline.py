"""The whole service; everything else is a detail of one line here.

pinned      mode -> configuration, whose versions stay
compose     configuration -> passages -> prompt
prepare     compose -> admitted                                            all that can fail with a status
pieces      tokens -> text                                                 as it is generated
collect     the pieces as one Answer
"""

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field

from indexer.choosing import choose
from indexer.record import Found
from indexer.search import Search
from ragtune.errors import ContextLengthExceeded, IncompatibleParts, InvalidRequest, Unavailable
from ragtune.prompt import Message, Prompt, lead_in, render, rendering_hash
from ragtune.wire import (
    Answer,
    CitedPassage,
    FinishReason,
    GivenPassage,
    Retrieved,
    Retrieving,
    Sampling,
    Timings,
    Usage,
)
from service.catalog import Configuration
from service.engine.client import Stream
from service.engine.messages import Beginning, Finish, Generation, TokenEvent
from service.given import check_given, given_passages, told
from service.limits import check_enforceable, check_length, check_size, check_vocabulary
from service.notes import remarks
from service.parts import Parts
from service.transcript import Piece, Token, Transcript, prompt_tokens

_CITATION = re.compile(r"\[(\d+)\]")
DEFAULT_NEW_TOKENS = 512  # where a client does not say, at most this many, or what the window leaves


@dataclass(frozen=True)
class Ask:
    """One prompt, and `count` generations from it.

    `prompt_ids` replaces messages where the client sent a raw prompt. Passages for it are searched by `question`, or
    else by its text, and put before it. `passages` are those the client brings itself, instead of a search. `echo`
    repeats the prompt before the answer, control tokens shown if the client sent `ids` and not text.
    """

    mode: str
    sampling: Sampling
    messages: tuple[Message, ...] = ()
    prompt_ids: tuple[int, ...] | None = None
    ids: bool = False
    question: str | None = None
    echo: bool = False
    count: int = 1
    max_tokens: int | None = None
    retrieving: Retrieving = Retrieving()  # noqa: RUF009 - frozen
    passages: tuple[GivenPassage, ...] | None = None
    deadline: float | None = None
    request_id: str = ""
    namespace: str = field(kw_only=True)  # the tenant's: only its own prompts share a prefix cache


@dataclass(frozen=True)
class Composed:
    """The prompt of an ask, what it was made from, and what there is to say about that.

    The client's own tokens begin at `own`.
    """

    configuration: Configuration
    prompt: Prompt
    own: int
    passages: list[Found]
    retrieved: Retrieved | None
    retrieval_ms: float
    started: float
    notes: list[str]


@dataclass
class Prepared:
    """An admitted generation. `text`, `tokens` and the counts grow while `pieces` is read."""

    id: str
    ask: Ask
    composed: Composed
    stream: Stream
    echo: str = ""
    text: str = ""
    tokens: list[Token] = field(default_factory=list)  # with the echo's
    stopped: bool = False
    count: int = 0
    first_token: float | None = None


@contextmanager
def pinned(mode: str, parts: Parts) -> Iterator[Configuration]:
    """What `mode` means now; whoever deletes a version of it waits while the context is open.

    Raises what `Catalog.resolve` raises.
    """
    configuration = parts.catalog.resolve(mode)
    with parts.pins.hold(configuration.pins):
        yield configuration


async def compose(ask: Ask, configuration: Configuration, parts: Parts) -> Composed:
    """The prompt that `ask` leads to. Raises what can be wrong with its messages, passages or prompt."""
    started = time.monotonic()
    _check_raw(ask, configuration, parts)
    check_length(sum(len(message.content) for message in ask.messages), "messages", parts)
    budget = ask.retrieving.passage_tokens or parts.settings.passage_tokens
    passages, retrieved, retrieval_ms = await _passages(ask, configuration, budget, parts)
    prompt, own = _prompt(ask, passages, configuration, parts)
    rendering = rendering_hash(configuration.template, parts.tokenizer) if ask.prompt_ids is None else None
    notes = remarks(configuration, rendering)
    return Composed(configuration, prompt, own, passages, retrieved, retrieval_ms, started, notes)


async def prepare(ask: Ask, configuration: Configuration, parts: Parts) -> list[Prepared]:
    """All that may still fail with an HTTP status happens here, before the first byte."""
    return await _admit(ask, await compose(ask, configuration, parts), parts)


async def prepare_all(asks: Sequence[Ask], parts: Parts) -> list[Prepared]:
    """Every ask admitted, in order; if one cannot be, none runs. A mode means the same for all of them."""
    coming = sum(ask.count for ask in asks)
    check_size(coming, parts)
    parts.engine.check_room(parts.lifecycle.preparing + coming - 1)  # first, so that a full house is told at once
    parts.lifecycle.preparing += coming
    prepared: list[Prepared] = []
    try:
        for schema_text in {ask.sampling.schema_text for ask in asks} - {None}:
            await check_enforceable(str(schema_text), parts)
        with ExitStack() as pins:
            means = {mode: pins.enter_context(pinned(mode, parts)) for mode in dict.fromkeys(ask.mode for ask in asks)}
            for ask in asks:
                prepared += await prepare(ask, means[ask.mode], parts)
                parts.lifecycle.preparing -= ask.count
                coming -= ask.count
    except BaseException:
        cancel_all(prepared)
        raise
    finally:
        parts.lifecycle.preparing -= coming
    return prepared


async def _admit(ask: Ask, composed: Composed, parts: Parts) -> list[Prepared]:
    _check_ids(ask.sampling, parts)
    if composed.retrieved is not None and composed.retrieved.abstained:
        return _abstain(ask, composed, parts)
    room = _room(ask, composed, parts)
    if ask.sampling.min_tokens > room:
        text = f"min_tokens is {ask.sampling.min_tokens}, and {room} tokens are generated at most"
        raise InvalidRequest(text, param="min_tokens")
    sampling = ask.sampling.model_copy(update={"max_tokens": room})
    prepared: list[Prepared] = []
    try:
        for index in range(ask.count):
            unique = uuid.uuid4().hex
            generation = Generation(
                request_id=f"{ask.request_id}.{unique}",  # so the engine's log can be found by what the client was told
                token_ids=composed.prompt.token_ids,
                sampling=sampling.model_copy(update={"seed": _seed(sampling.seed, index)}),
                weights=composed.configuration.weights,
                prefix=composed.configuration.prefix,
                eos_ids=_eos_ids(composed.configuration, parts),
                deadline=min(ask.deadline or parts.settings.deadline, parts.settings.deadline),
                namespace=ask.namespace,
            )
            stream = await parts.engine.admit(generation)
            prepared.append(Prepared(f"gen-{unique}", ask, composed, stream))
    except BaseException:
        cancel_all(prepared)
        raise
    return prepared


def _abstain(ask: Ask, composed: Composed, parts: Parts) -> list[Prepared]:
    """No passage was found: the same fixed answer for every choice, without the engine.

    Raises IncompatibleParts where the answer has to satisfy a schema, which no fixed text does.
    """
    if ask.sampling.schema_text is not None:
        raise IncompatibleParts(
            "no passage was found, and the text for that does not satisfy the schema; lower min_score, loosen filters, "
            "or ask without rag"
        )
    tokens, _ = parts.tokenizer.encode(parts.settings.abstention)
    prepared = []
    for _ in range(ask.count):
        stream = Stream(f"{ask.request_id}.{uuid.uuid4().hex}", lambda _id: None)
        stream.beginning = Beginning()
        for token in tokens:
            stream.push(TokenEvent(token))
        stream.push(Finish("stop", 0, 0, 0, 0.0))
        prepared.append(Prepared(f"gen-{uuid.uuid4().hex}", ask, composed, stream))
    return prepared


async def pieces(prepared: Prepared, parts: Parts) -> AsyncGenerator[Piece]:
    """Text as it is generated, after its echo, up to the first stop string. Leaving early, or an error, frees the slot.

    A first piece may be empty: it only says that the prompt has been computed.
    """
    sampling = prepared.ask.sampling
    transcript = Transcript(parts.tokenizer, sampling.stop, sampling.min_tokens)
    try:
        async for event in prepared.stream:
            prepared.count += 1
            if prepared.first_token is None:
                prepared.first_token = time.monotonic()
                yield _echo(prepared, parts)
            if (piece := transcript.push(event)).text or piece.tokens:
                yield _written(prepared, piece)
            if transcript.stopped:
                prepared.stopped = True
                return
        if prepared.first_token is None:  # not one token
            yield _echo(prepared, parts)
        if (piece := transcript.end()).text or piece.tokens:
            yield _written(prepared, piece)
        prepared.stopped = transcript.stopped
    finally:
        prepared.stream.cancel()


async def collect(prepared: Prepared, parts: Parts) -> Answer:
    """The whole answer."""
    async with aclosing(pieces(prepared, parts)) as text:
        async for _ in text:
            pass
    return answer(prepared)


async def answer_all(asks: Sequence[Ask], parts: Parts) -> list[tuple[Prepared, Answer]]:
    """Prepare and collect several generations, computed together. If one cannot be prepared, or fails, none goes on."""
    prepared = await prepare_all(asks, parts)
    collecting = [asyncio.create_task(collect(each, parts)) for each in prepared]
    try:
        return list(zip(prepared, await asyncio.gather(*collecting), strict=True))
    finally:
        for task in collecting:
            task.cancel()
        cancel_all(prepared)


Said = tuple[int, Piece | None] | None  # which generation, and what it adds or None at its end; None alone: silence


async def together(prepared: Sequence[Prepared], parts: Parts, patience: float) -> AsyncGenerator[Said]:
    """The pieces of all as they come; None whenever nothing came for `patience` seconds. The first error ends all."""
    said: asyncio.Queue[tuple[int, Piece | Exception | None]] = asyncio.Queue()
    pumps = [asyncio.create_task(_pump(index, each, parts, said)) for index, each in enumerate(prepared)]
    try:
        speaking = len(pumps)
        while speaking:
            try:
                async with asyncio.timeout(patience):  # wait_for of Python 3.11 may swallow being cancelled
                    index, piece = await said.get()
            except TimeoutError:
                yield None
                continue
            if isinstance(piece, Exception):
                raise piece
            speaking -= piece is None
            yield index, piece
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)


async def _pump(
    index: int, prepared: Prepared, parts: Parts, said: asyncio.Queue[tuple[int, Piece | Exception | None]]
) -> None:
    try:
        async with aclosing(pieces(prepared, parts)) as text:
            async for piece in text:
                said.put_nowait((index, piece))
                prepared.tokens.clear()  # they are told with the piece
        said.put_nowait((index, None))
    except Exception as error:  # noqa: BLE001 - raised again by the one who listens
        said.put_nowait((index, error))


def cancel_all(prepared: Sequence[Prepared]) -> None:
    """Free the slots of all."""
    for each in prepared:
        each.stream.cancel()


def answer(prepared: Prepared) -> Answer:
    """What is known once the last piece was read."""
    composed, finish = prepared.composed, prepared.stream.finish
    beginning = prepared.stream.beginning or Beginning()
    configuration = composed.configuration
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
            for number, passage in enumerate(composed.passages, start=1)
        ],
        passages_retrieved=composed.retrieved.found if composed.retrieved else 0,
        retrieval=composed.retrieved,
        notes=composed.notes,
        usage=Usage(
            prompt_tokens=len(composed.prompt.token_ids),
            completion_tokens=finish.completion_tokens if finish else prepared.count,
            cached_tokens=beginning.cached_tokens,
            virtual_tokens=_virtual(configuration),
        ),
        timings=Timings(
            retrieval_ms=round(composed.retrieval_ms, 2),
            queue_ms=round(beginning.queue_ms, 2),
            first_token_ms=round(1e3 * (first - composed.started), 2),
            total_ms=round(1e3 * (time.monotonic() - composed.started), 2),
        ),
    )


def finish_reason(prepared: Prepared) -> FinishReason:
    """Why it ended: a stop string or token, or the limit."""
    finish = prepared.stream.finish
    return "stop" if prepared.stopped or finish is None else finish.reason


def _written(prepared: Prepared, piece: Piece) -> Piece:
    prepared.text += piece.text
    prepared.tokens += piece.tokens
    return piece


def _echo(prepared: Prepared, parts: Parts) -> Piece:
    """The client's own prompt again, with its scores if they were asked for."""
    ask, composed = prepared.ask, prepared.composed
    if not ask.echo:
        return Piece("")
    own = composed.prompt.token_ids[composed.own :]
    beginning = prepared.stream.beginning or Beginning()
    moved = ask.prompt_ids is not None and len(ask.prompt_ids) > len(own)  # its opening stands before the passages
    own = ask.prompt_ids if ask.prompt_ids is not None and moved else own
    prepared.echo = (parts.tokenizer.decode_all if ask.ids else parts.tokenizer.decode)(own)
    if not ask.sampling.score_prompt:
        return Piece(prepared.echo)
    scores = [None, *beginning.scores][composed.own :]
    if moved:
        scores = [None, *scores]
    tokens = prompt_tokens(own, scores, parts.tokenizer, controls=ask.ids)
    prepared.tokens += tokens
    return Piece(prepared.echo, tokens)


async def _passages(
    ask: Ask, configuration: Configuration, budget: int, parts: Parts
) -> tuple[list[Found], Retrieved | None, float]:
    """The passages of the prompt, those given or those found, where they are from, and after how many milliseconds."""
    if ask.passages is None:
        found, retrieved, retrieval_ms = await _retrieve(ask, configuration, parts)
        return choose(found, budget, configuration.template, parts.tokenizer), retrieved, retrieval_ms
    check_given(ask.retrieving, ask.mode, rag=configuration.index is not None)
    check_length(sum(len(passage.text) for passage in ask.passages), "passages", parts)
    passages = given_passages(ask.passages, budget, configuration.template, parts.tokenizer)
    return passages, told(passages, raw=ask.prompt_ids is not None), 0.0


async def _retrieve(
    ask: Ask, configuration: Configuration, parts: Parts
) -> tuple[list[Found], Retrieved | None, float]:
    """Passages for the question, how they were found, and in how many milliseconds; searched in a thread, as embedding
    takes some of one core."""
    if configuration.index is None:
        return [], None, 0.0
    started = time.monotonic()
    if ask.prompt_ids is None:
        question = ask.messages[-1].content
    else:
        question = ask.question or parts.tokenizer.decode(ask.prompt_ids)
    search = Search.under(parts.settings, question, ask.retrieving, tenant=ask.namespace or None)
    try:
        found = await asyncio.to_thread(parts.retriever.search, configuration.index, search)
    except (OSError, RuntimeError, ValueError, IndexError) as error:  # deleted since it was resolved, or damaged
        raise Unavailable(f"index {configuration.index} cannot be read; if it is still listed, rebuild it") from error
    abstained = not found and ask.prompt_ids is None
    retrieved = Retrieved(
        method=search.method, top_k=search.top_k, min_score=search.min_score, found=len(found), abstained=abstained
    )
    return found, retrieved, 1e3 * (time.monotonic() - started)


def _prompt(ask: Ask, passages: list[Found], configuration: Configuration, parts: Parts) -> tuple[Prompt, int]:
    """The prompt, and where the client's own tokens begin in it."""
    tokenizer = parts.tokenizer
    if ask.prompt_ids is None:
        return render(ask.messages, passages, configuration.template, tokenizer), 0
    ids = ask.prompt_ids
    if not passages:
        return Prompt(ids, tokenizer.decode(ids)), 0
    before = tokenizer.encode_completion(lead_in(passages, configuration.template, tokenizer))
    ids = tokenizer.without_opening(ids)
    return Prompt((*before, *ids), tokenizer.decode([*before, *ids])), len(before)


def _check_raw(ask: Ask, configuration: Configuration, parts: Parts) -> None:
    if ask.prompt_ids is None:
        return
    if "template" in configuration.versions:
        raise IncompatibleParts("a raw prompt takes no template; use /v1/chat/completions or /v1/query")
    check_vocabulary(ask.prompt_ids, "the prompt has", "prompt", parts)


def _check_ids(sampling: Sampling, parts: Parts) -> None:
    check_vocabulary([token for token, _ in sampling.logit_bias], "logit_bias has", "logit_bias", parts)
    check_vocabulary(sampling.stop_token_ids, "stop_token_ids has", "stop_token_ids", parts)


def _seed(seed: int | None, index: int) -> int | None:
    """The seed of the `index`-th choice: the client's own for the first, others that depend on it for the rest."""
    if seed is None or index == 0:
        return seed
    mixed = hashlib.sha256(f"{seed} {index}".encode()).digest()
    return int.from_bytes(mixed[:8], "big", signed=True)


def _room(ask: Ask, composed: Composed, parts: Parts) -> int:
    """New tokens to ask the engine for. Raises ContextLengthExceeded if the prompt, or what was asked, cannot fit."""
    window = parts.engine.info.max_model_len
    configuration, prompt = composed.configuration, composed.prompt
    taken = _virtual(configuration) + len(prompt.token_ids)
    wanted = 1 if ask.max_tokens is None else ask.max_tokens
    if taken + wanted > window:
        virtual = f" and {_virtual(configuration)} virtual" if configuration.prefix else ""
        raise ContextLengthExceeded(
            f"this model's window is {window} tokens; {taken + wanted} were asked for: "
            f"{len(prompt.token_ids)} in the prompt{virtual}, {wanted} to generate",
            param="messages" if ask.prompt_ids is None else "prompt",
        )
    return min(DEFAULT_NEW_TOKENS, window - taken) if ask.max_tokens is None else wanted


def _eos_ids(configuration: Configuration, parts: Parts) -> tuple[int, ...]:
    """What ends a text: the tokenizer's own, and those of a checkpoint that was trained with others."""
    own = [token for version in configuration.adapters for token in version.manifest.eos_ids]
    return (*parts.tokenizer.eos_ids, *(token for token in own if token not in parts.tokenizer.eos_ids))


def _virtual(configuration: Configuration) -> int:
    return configuration.prefix.virtual_tokens if configuration.prefix else 0
