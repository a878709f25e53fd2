"""/v1/chat/completions and /v1/completions, streaming and not."""

import time
from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from ragtune.wire import Answer, Retrieving
from service.access import needs, tenant
from service.border import note_answers, request_id
from service.disconnect import unless_gone
from service.documented import GENERATING, refusals, streamed
from service.limits import check_length, check_size
from service.openai import streaming
from service.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from service.openai.responses import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    Completion,
    Extension,
    OpenAIUsage,
    TextChoice,
    TextLogprobs,
)
from service.parts import Parts
from service.pipeline import Ask, Prepared, answer_all
from service.remembering import remember


def router(parts: Parts) -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["openai"])

    @routes.post(
        "/v1/chat/completions",
        dependencies=[needs("query")],
        response_model=ChatCompletion,
        responses=streamed("A chat completion", ChatChunk) | refusals(*GENERATING),
    )
    async def chat(body: ChatRequest, request: Request) -> Response | ChatCompletion:
        """Answer a conversation in the mode named by `model`."""
        ask = _chat_ask(body, request)
        if body.stream:
            return await streaming.respond(request, [ask], streaming.ChatChunks(body), parts)
        prepared, answers = await _generate(request, [ask], parts)
        told = ask.sampling.logprobs is not None
        return ChatCompletion(
            id=streaming.public_id("chatcmpl", answers[0].id),
            created=int(time.time()),
            model=body.model,
            choices=[
                ChatChoice(
                    index=index,
                    message=AssistantMessage(content=answer.text),
                    logprobs=ChatLogprobs.of(each.tokens) if told else None,
                    finish_reason=answer.finish_reason,
                )
                for index, (each, answer) in enumerate(zip(prepared, answers, strict=True))
            ],
            usage=OpenAIUsage.of(answers, body.choices),
            ragtune=Extension.of(*answers),
        )

    @routes.post(
        "/v1/completions",
        dependencies=[needs("query")],
        response_model=Completion,
        responses=streamed("A completion", Completion) | refusals(*GENERATING),
    )
    async def completions(body: CompletionRequest, request: Request) -> Response | Completion:
        """Continue raw prompts in the mode named by `model`; a list is computed together."""
        asks = _completion_asks(body, request, parts)
        if body.stream:
            return await streaming.respond(request, asks, streaming.TextChunks(body), parts)
        prepared, answers = await _generate(request, asks, parts)
        told = body.logprobs is not None
        return Completion(
            id=streaming.public_id("cmpl", answers[0].id),
            created=int(time.time()),
            model=body.model,
            choices=[
                TextChoice(
                    index=index,
                    text=each.echo + answer.text,
                    logprobs=TextLogprobs.of(each.tokens) if told else None,
                    finish_reason=answer.finish_reason,
                )
                for index, (each, answer) in enumerate(zip(prepared, answers, strict=True))
            ],
            usage=OpenAIUsage.of(answers, body.choices),
            ragtune=Extension.of(*answers),
        )

    return routes


async def _generate(request: Request, asks: list[Ask], parts: Parts) -> tuple[list[Prepared], list[Answer]]:
    generated = await unless_gone(request, answer_all(asks, parts))
    prepared, answers = [each for each, _ in generated], [answer for _, answer in generated]
    note_answers(request, answers)
    remember(request, prepared, answers, parts)
    return prepared, answers


def _chat_ask(body: ChatRequest, request: Request) -> Ask:
    body.refuse_unsupported()
    return Ask(
        mode=body.model,
        sampling=body.sampling(body.alternatives),
        messages=tuple(message.flat() for message in body.messages),
        count=body.choices,
        max_tokens=body.new_tokens,
        deadline=body.deadline,
        retrieving=_retrieving(body),
        passages=body.ragtune.passages if body.ragtune else None,
        namespace=tenant(request),
        request_id=request_id(request),
    )


def _retrieving(body: GenerationRequest) -> Retrieving:
    return Retrieving.model_validate(body.ragtune.model_dump(exclude={"passages"})) if body.ragtune else Retrieving()


def _completion_asks(body: CompletionRequest, request: Request, parts: Parts) -> list[Ask]:
    body.refuse_unsupported()
    prompts = body.prompts()
    check_size(len(prompts) * body.choices, parts)  # before the work of reading them
    parts.engine.check_room(parts.lifecycle.preparing + len(prompts) * body.choices - 1)
    for prompt in prompts:
        check_length(len(prompt) if isinstance(prompt, str) else 0, "prompt", parts)
    ask = Ask(
        mode=body.model,
        sampling=body.sampling(body.logprobs, score_prompt=bool(body.echo) and body.logprobs is not None),
        ids=not isinstance(prompts[0], str),
        question=body.query,
        echo=bool(body.echo),
        count=body.choices,
        max_tokens=16 if body.max_tokens is None else body.max_tokens,  # OpenAI's default on this route
        deadline=body.deadline,
        retrieving=_retrieving(body),
        passages=body.ragtune.passages if body.ragtune else None,
        namespace=tenant(request),
        request_id=request_id(request),
    )
    ids = [parts.tokenizer.encode_completion(p) if isinstance(p, str) else p for p in prompts]
    return [replace(ask, prompt_ids=tuple(p)) for p in ids]
