"""/v1/chat/completions and /v1/completions, streaming and not."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from ragtune.errors import InvalidRequest, RagtuneError
from ragtune.wire import Answer
from service.border import note, request_id
from service.disconnect import EventStream, unless_gone
from service.errors import envelope
from service.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from service.openai.responses import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChunkChoice,
    Completion,
    Delta,
    Extension,
    OpenAIUsage,
    TextChoice,
)
from service.parts import Parts
from service.pipeline import Ask, Prepared, answer, answer_all, pieces, prepare

_DONE = "data: [DONE]\n\n"


def router(parts: Parts) -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["openai"])

    @routes.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat(body: ChatRequest, request: Request) -> Response | ChatCompletion:
        """Answer a conversation in the mode named by `model`."""
        ask = _chat_ask(body, request)
        if body.stream:
            return await _stream(request, ask, _ChatChunks(body), parts)
        (done,) = await unless_gone(request, answer_all([ask], parts))
        note_answers(request, [done])
        return ChatCompletion(
            id=_public_id("chatcmpl", done.id),
            created=int(time.time()),
            model=body.model,
            choices=[ChatChoice(message=AssistantMessage(content=done.text), finish_reason=done.finish_reason)],
            usage=OpenAIUsage.of([done]),
            ragtune=Extension.of(done),
        )

    @routes.post("/v1/completions", response_model=Completion, response_model_exclude_none=False)
    async def completions(body: CompletionRequest, request: Request) -> Response | Completion:
        """Continue raw prompts in the mode named by `model`; a list is computed together."""
        asks = _completion_asks(body, request, parts)
        if body.stream:
            if len(asks) > 1:
                raise InvalidRequest("streaming takes one prompt", param="prompt")
            return await _stream(request, asks[0], _TextChunks(body), parts)
        answers = await unless_gone(request, answer_all(asks, parts))
        note_answers(request, answers)
        return Completion(
            id=_public_id("cmpl", answers[0].id),
            created=int(time.time()),
            model=body.model,
            choices=[TextChoice(index=i, text=a.text, finish_reason=a.finish_reason) for i, a in enumerate(answers)],
            usage=OpenAIUsage.of(answers),
            ragtune=Extension.of(answers[0]),
        )

    return routes


def note_answers(request: Request, answers: list[Answer]) -> None:
    """The log line of a generating route: modes, counts and times, no text."""
    note(
        request,
        mode=[a.resolved_mode for a in answers] if len(answers) > 1 else answers[0].resolved_mode,
        prompt_tokens=sum(a.usage.prompt_tokens for a in answers),
        completion_tokens=sum(a.usage.completion_tokens for a in answers),
        cached_tokens=sum(a.usage.cached_tokens for a in answers),
        first_token_ms=answers[0].timings.first_token_ms,
    )


def _chat_ask(body: ChatRequest, request: Request) -> Ask:
    body.refuse_unsupported()
    return Ask(
        mode=body.model,
        sampling=body.sampling(),
        messages=tuple(message.flat() for message in body.messages),
        max_tokens=body.new_tokens,
        deadline=body.deadline,
        request_id=request_id(request),
    )


def _completion_asks(body: CompletionRequest, request: Request, parts: Parts) -> list[Ask]:
    body.refuse_unsupported()
    ids = [parts.tokenizer.encode_completion(p) if isinstance(p, str) else p for p in body.prompts()]
    first = Ask(
        mode=body.model,
        sampling=body.sampling(),
        max_tokens=body.max_tokens or 16,  # OpenAI's default on this route
        deadline=body.deadline,
        request_id=request_id(request),
    )
    return [replace(first, prompt_ids=tuple(p)) for p in ids]


class _Chunks(Protocol):
    """Turns pieces of text into the chunks of one route."""

    body: GenerationRequest

    def opening(self, prepared: Prepared) -> list[BaseModel]:
        """Before the first text."""

    def text(self, prepared: Prepared, piece: str) -> BaseModel:
        """A piece of text."""

    def last(self, prepared: Prepared, done: Answer) -> BaseModel:
        """The finish reason, with the extension."""

    def usage(self, prepared: Prepared, done: Answer) -> BaseModel:
        """The usage, with no choices."""


class _ChatChunks:
    def __init__(self, body: ChatRequest) -> None:
        self.body: GenerationRequest = body
        self._created = int(time.time())

    def opening(self, prepared: Prepared) -> list[BaseModel]:
        return [self._chunk(prepared, Delta(role="assistant", content=""))]

    def text(self, prepared: Prepared, piece: str) -> BaseModel:
        return self._chunk(prepared, Delta(content=piece))

    def last(self, prepared: Prepared, done: Answer) -> BaseModel:
        chunk = self._chunk(prepared, Delta())
        chunk.choices[0].finish_reason = done.finish_reason
        chunk.ragtune = Extension.of(done)
        return chunk

    def usage(self, prepared: Prepared, done: Answer) -> BaseModel:
        chunk = self._chunk(prepared, Delta())
        chunk.choices, chunk.usage = [], OpenAIUsage.of([done])
        return chunk

    def _chunk(self, prepared: Prepared, delta: Delta) -> ChatChunk:
        return ChatChunk(
            id=_public_id("chatcmpl", prepared.id),
            created=self._created,
            model=self.body.model,
            choices=[ChunkChoice(delta=delta)],
        )


class _TextChunks:
    def __init__(self, body: CompletionRequest) -> None:
        self.body: GenerationRequest = body
        self._created = int(time.time())

    def opening(self, _prepared: Prepared) -> list[BaseModel]:
        return []

    def text(self, prepared: Prepared, piece: str) -> BaseModel:
        return self._chunk(prepared, [TextChoice(index=0, text=piece, finish_reason=None)])

    def last(self, prepared: Prepared, done: Answer) -> BaseModel:
        chunk = self._chunk(prepared, [TextChoice(index=0, text="", finish_reason=done.finish_reason)])
        chunk.ragtune = Extension.of(done)
        return chunk

    def usage(self, prepared: Prepared, done: Answer) -> BaseModel:
        chunk = self._chunk(prepared, [])
        chunk.usage = OpenAIUsage.of([done])
        return chunk

    def _chunk(self, prepared: Prepared, choices: list[TextChoice]) -> Completion:
        public = _public_id("cmpl", prepared.id)
        return Completion(id=public, created=self._created, model=self.body.model, choices=choices)


async def _stream(request: Request, ask: Ask, chunks: _Chunks, parts: Parts) -> Response:
    """Headers go out only once there is a first piece, so that every error before it still has its status."""
    prepared = await unless_gone(request, prepare(ask, parts))
    text = pieces(prepared, parts)
    try:
        first = await unless_gone(request, anext(text, ""))
    except BaseException:
        await text.aclose()
        raise
    return EventStream(_events(request, prepared, first, text, chunks))


async def _events(
    request: Request, prepared: Prepared, first: str, text: AsyncGenerator[str], chunks: _Chunks
) -> AsyncGenerator[str]:
    async with aclosing(text):
        try:
            for chunk in chunks.opening(prepared):
                yield _event(chunk)
            if first:
                yield _event(chunks.text(prepared, first))
            async for piece in text:
                yield _event(chunks.text(prepared, piece))
        except RagtuneError as error:
            yield _event(envelope(error))
            return
    done = answer(prepared)
    note_answers(request, [done])
    yield _event(chunks.last(prepared, done))
    if chunks.body.include_usage:
        yield _event(chunks.usage(prepared, done))
    yield _DONE


def _event(chunk: BaseModel) -> str:
    return f"data: {chunk.model_dump_json(exclude_none=False)}\n\n"


def _public_id(kind: str, generation: str) -> str:
    return f"{kind}-{generation.removeprefix('gen-')}"
