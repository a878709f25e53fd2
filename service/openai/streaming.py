"""Streams as OpenAI's clients read them.

Each choice begins with its role (chat), ends with one finish reason, and carries `ragtune` there; then the usage with
no choices if it was asked for, then [DONE]. Headers go out with the first token, so that an error before it still has
its status; when that takes longer than the setting `keep_alive`, they go out all the same, and comments keep the
connection open. An error after them is an event, and no [DONE] follows it.
"""

import json
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from ragtune.wire import FinishReason
from service.border import note_answers
from service.disconnect import EventStream, unless_gone
from service.errors import as_event
from service.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from service.openai.responses import (
    ChatChunk,
    ChatLogprobs,
    ChunkChoice,
    Completion,
    Delta,
    Extension,
    OpenAIUsage,
    TextChoice,
    TextLogprobs,
)
from service.parts import Parts
from service.pipeline import Ask, Prepared, Said, answer, cancel_all, prepare_all, together
from service.remembering import remember
from service.transcript import Piece

_DONE = "data: [DONE]\n\n"
_KEEP_ALIVE = ": keep-alive\n\n"


class Chunks(Protocol):
    """What a choice of one route says at each point of a stream, and the chunk it travels in."""

    body: GenerationRequest

    def opening(self, index: int) -> BaseModel | None:
        """Before the first text."""

    def piece(self, index: int, piece: Piece) -> BaseModel:
        """Some text, and its tokens."""

    def last(self, index: int, finish_reason: FinishReason) -> BaseModel:
        """The end."""

    def chunk(self, generation: str, choices: Sequence[BaseModel]) -> ChatChunk | Completion:
        """Around choices, or around none."""


class ChatChunks:
    """Chunks of /v1/chat/completions."""

    def __init__(self, body: ChatRequest) -> None:
        self.body: GenerationRequest = body
        self._told = body.alternatives is not None
        self._created = int(time.time())

    def opening(self, index: int) -> BaseModel | None:
        """The role."""
        return ChunkChoice(index=index, delta=Delta(role="assistant", content=""))

    def piece(self, index: int, piece: Piece) -> BaseModel:
        """Text, and its tokens."""
        logprobs = ChatLogprobs.of(piece.tokens) if self._told else None
        return ChunkChoice(index=index, delta=Delta(content=piece.text), logprobs=logprobs)

    def last(self, index: int, finish_reason: FinishReason) -> BaseModel:
        """The finish reason."""
        return ChunkChoice(index=index, delta=Delta(), finish_reason=finish_reason)

    def chunk(self, generation: str, choices: Sequence[BaseModel]) -> ChatChunk | Completion:
        """As chat completions have it."""
        name = public_id("chatcmpl", generation)
        own = [choice for choice in choices if isinstance(choice, ChunkChoice)]
        return ChatChunk(id=name, created=self._created, model=self.body.model, choices=own)


class TextChunks:
    """Chunks of /v1/completions."""

    def __init__(self, body: CompletionRequest) -> None:
        self.body: GenerationRequest = body
        self._told = body.logprobs is not None
        self._created = int(time.time())
        self._offsets: defaultdict[int, int] = defaultdict(int)  # characters of the tokens told, by choice

    def opening(self, index: int) -> BaseModel | None:  # noqa: ARG002 - there is none on this route
        """Nothing."""
        return None

    def piece(self, index: int, piece: Piece) -> BaseModel:
        """Text, and its tokens."""
        logprobs = TextLogprobs.of(piece.tokens, self._offsets[index]) if self._told else None
        self._offsets[index] += sum(len(token.text) for token in piece.tokens)
        return TextChoice(index=index, text=piece.text, logprobs=logprobs, finish_reason=None)

    def last(self, index: int, finish_reason: FinishReason) -> BaseModel:
        """The finish reason."""
        return TextChoice(index=index, text="", finish_reason=finish_reason)

    def chunk(self, generation: str, choices: Sequence[BaseModel]) -> ChatChunk | Completion:
        """As text completions have it."""
        name = public_id("cmpl", generation)
        own = [choice for choice in choices if isinstance(choice, TextChoice)]
        return Completion(id=name, created=self._created, model=self.body.model, choices=own)


async def respond(request: Request, asks: Sequence[Ask], chunks: Chunks, parts: Parts) -> Response:
    """Admit everything, wait for the first sign of life, then stream."""
    prepared = await unless_gone(request, prepare_all(asks, parts))
    said = together(prepared, parts, parts.settings.keep_alive)
    try:
        first = await unless_gone(request, anext(said))
    except BaseException:
        cancel_all(prepared)
        await said.aclose()
        raise
    return EventStream(_events(request, prepared, first, said, chunks, parts), lambda: cancel_all(prepared))


async def _events(
    request: Request,
    prepared: Sequence[Prepared],
    first: Said,
    rest: AsyncGenerator[Said],
    chunks: Chunks,
    parts: Parts,
) -> AsyncGenerator[str]:
    generation, opened = prepared[0].id, set[int]()

    def event(index: int, choice: BaseModel, extension: Extension | None = None) -> str:
        chunk = chunks.chunk(generation, [choice])
        chunk.ragtune = extension
        running = OpenAIUsage.of([answer(prepared[index])]) if chunks.body.running_usage else None
        return _event(chunk, running, told=chunks.body.include_usage)

    async with aclosing(rest):
        try:
            async for said in _joined(first, rest):
                if said is None:
                    yield _KEEP_ALIVE
                    continue
                index, piece = said
                if index not in opened:
                    opened.add(index)
                    if opening := chunks.opening(index):
                        yield event(index, opening)
                if piece is None:
                    done = answer(prepared[index])
                    yield event(index, chunks.last(index, done.finish_reason), Extension.of(done))
                elif piece.text or piece.tokens:
                    yield event(index, chunks.piece(index, piece))
        except Exception as error:  # noqa: BLE001 - the border: headers are out, so it must travel as an event
            yield f"data: {as_event(request, error).model_dump_json()}\n\n"
            return
    answers = [answer(each) for each in prepared]
    note_answers(request, answers)
    remember(request, prepared, answers, parts)
    if chunks.body.include_usage:
        usage = OpenAIUsage.of(answers, chunks.body.choices)
        yield _event(chunks.chunk(generation, []), usage, told=True)
    yield _DONE


async def _joined(first: Said, rest: AsyncGenerator[Said]) -> AsyncGenerator[Said]:
    yield first
    async for said in rest:
        yield said


def _event(chunk: ChatChunk | Completion, usage: OpenAIUsage | None, *, told: bool) -> str:
    chunk.usage = usage
    data = chunk.model_dump(mode="json")
    if told:
        data.setdefault("usage", None)  # OpenAI: null in every chunk but the last, if it was asked for
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def public_id(kind: str, generation: str) -> str:
    """The id a client sees: `chatcmpl-...` or `cmpl-...`."""
    return f"{kind}-{generation.removeprefix('gen-')}"
