"""/v1/query and /v1/compare: one question in one mode, or in several at once."""

from dataclasses import replace

from fastapi import APIRouter, Request

from ragtune.prompt import Message
from ragtune.wire import Answer, Ask, CompareRequest, CompareResponse, QueryRequest, Retrieving, Sampling
from service import pipeline
from service.access import needs, tenant
from service.border import note_answers, request_id
from service.disconnect import unless_gone
from service.documented import GENERATING, refusals
from service.parts import Parts
from service.remembering import remember


def router(parts: Parts) -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["query"])

    @routes.post("/v1/query", dependencies=[needs("query")], responses=refusals(*GENERATING))
    async def query(body: QueryRequest, request: Request) -> Answer:
        """Answer one question in one mode."""
        ask = replace(_ask(body, body.mode, request), passages=body.passages)
        ((prepared, answer),) = await unless_gone(request, pipeline.answer_all([ask], parts))
        note_answers(request, [answer])
        remember(request, [prepared], [answer], parts)
        return answer

    @routes.post("/v1/compare", dependencies=[needs("query")], responses=refusals(*GENERATING))
    async def compare(body: CompareRequest, request: Request) -> CompareResponse:
        """Answer one question in several modes, computed together; if one mode cannot be had, none runs."""
        asks = [_ask(body, mode, request) for mode in body.modes]
        generated = await unless_gone(request, pipeline.answer_all(asks, parts))
        answers = [answer for _, answer in generated]
        note_answers(request, answers)
        remember(request, [prepared for prepared, _ in generated], answers, parts)
        return CompareResponse(answers=answers)

    return routes


def _ask(body: Ask, mode: str, request: Request) -> pipeline.Ask:
    sampling = Sampling(temperature=body.temperature, top_p=body.top_p, seed=body.seed, stop=body.stop)
    return pipeline.Ask(
        mode=mode,
        sampling=sampling,
        messages=(Message(role="user", content=body.query),),
        max_tokens=body.max_tokens,
        retrieving=Retrieving.model_validate(body.model_dump(include=set(Retrieving.model_fields))),
        deadline=body.deadline,
        namespace=tenant(request),
        request_id=request_id(request),
    )
