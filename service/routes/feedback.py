"""/v1/feedback: what somebody thought of an answer; the opinions there are, and the examples they make."""

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from ragtune.audit import Entry
from ragtune.errors import InvalidRequest, UnknownName
from ragtune.examples.example import Words
from ragtune.feedback import Exchange, Feedback, Opinion
from ragtune.feedback_examples import Exported, exported
from ragtune.wire import Count, Number
from service.access import known_caller, needs, tenant
from service.border import request_id
from service.documented import POSTED, refusals
from service.parts import Parts

_LINES = "application/x-ndjson"
_OPENAI = re.compile("^(?:chatcmpl|cmpl)-")
_EXAMPLE = '{"id": "gen-4f2a", "query": "How long is the warranty?", "answers": ["26 months."]}\n'
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An example a line.",
        "content": {_LINES: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        "headers": {
            "X-Ragtune-Examples": {"description": "How many there are.", "schema": {"type": "integer"}},
            "X-Ragtune-Left-Out": {
                "description": "Opinions that make no example.",
                "schema": {"type": "integer"},
            },
        },
    }
}


class FeedbackRequest(BaseModel):
    """An opinion on one answer, which is named by its `id`, or by the `X-Request-ID` of a request that had one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"id": "gen-4f2a", "score": -1, "answer": "26 months."}]},
    )

    id: str | None = Field(default=None, max_length=200, description="of the answer, as it was told: gen-, chatcmpl-")
    request_id: str | None = Field(default=None, max_length=200, description="instead of the id")
    choice: Count | None = Field(default=None, ge=0, description="which of several answers to that request, from 0")
    score: Number = Field(ge=-1, le=1, description="-1 is bad, 1 is good")
    comment: str = Field(default="", max_length=10_000)
    answer: Words | None = Field(default=None, max_length=100_000, description="a better answer")

    @model_validator(mode="after")
    def _one_of_two(self) -> "FeedbackRequest":
        if (self.id is None) == (self.request_id is None):
            raise ValueError("send either id or request_id")
        return self


class Judged(BaseModel):
    """What was taken down: an opinion, without the conversation it is about, which whoever judges need not have had."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"id": "gen-4f2a", "score": -1.0, "answer": "26 months."}]}
    )

    id: str = Field(description="of the answer")
    score: float
    answer: str | None = Field(default=None, description="the better one that was given")


def router(parts: Parts) -> APIRouter:
    """/v1/feedback."""
    routes = APIRouter(prefix="/v1/feedback", tags=["feedback"])

    @routes.post("", dependencies=[needs("query")], responses=refusals(*POSTED, 404, 507))
    async def feedback_give(body: FeedbackRequest, request: Request) -> Judged:
        """Say what you think of an answer. Only then the exchange is written down, and a second opinion on the same
        answer replaces the first.

        The last answers since the service started can be judged, each by whose tenant it was given to.
        """
        exchange = await _judged(body, tenant(request), parts)
        opinion = Opinion(score=body.score, comment=body.comment, answer=body.answer)
        await asyncio.to_thread(parts.feedback.give, exchange, opinion, _entry(request, exchange, opinion))
        return Judged(id=exchange.id, score=opinion.score, answer=opinion.answer)

    @routes.get("", dependencies=[needs("eval")], responses=refusals(400))
    async def feedback_list(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000, description="opinions at most")] = 100,
        before: Annotated[int | None, Query(ge=1, description="only those older than the one with this number")] = None,
    ) -> list[Feedback]:
        """Opinions with the exchanges they are about, newest first; to a key with a tenant its own."""
        return await asyncio.to_thread(parts.feedback.newest, limit, before, tenant(request))

    @routes.get("/export", dependencies=[needs("eval")], response_class=Response, responses=refusals(400) | _EXPORT)
    async def feedback_export(
        request: Request,
        min_score: Annotated[float | None, Query(ge=-1, le=1, description="only opinions with at least it")] = None,
    ) -> Response:
        """Examples, a line of JSON each, to evaluate or train on: the question with the better answer if one was given,
        else with the answer itself if its score is over 0. Other opinions are left out, and counted in a header."""
        made = await asyncio.to_thread(_export, parts, tenant(request), min_score)
        counts = {"X-Ragtune-Examples": str(len(made.examples)), "X-Ragtune-Left-Out": str(made.left_out)}
        return Response(made.lines, media_type=_LINES, headers=counts)

    return routes


def _export(parts: Parts, owner: str, min_score: float | None) -> Exported:
    return exported(parts.feedback.all(owner), min_score)


async def _judged(body: FeedbackRequest, owner: str, parts: Parts) -> Exchange:
    """The exchange that is meant. Raises UnknownName if it is not kept (any more), InvalidRequest if several may be."""
    if body.id is not None:
        answer = _OPENAI.sub("gen-", body.id, count=1)
        found = parts.exchanges.answer(answer, owner)
        if body.choice is None:
            if found := found or await asyncio.to_thread(parts.feedback.judged, answer, owner):
                return found
            raise _unknown(body, parts)
        group = parts.exchanges.request(found.request_id, owner) if found else []
    else:
        group = parts.exchanges.request(body.request_id or "", owner)
    chosen = [each for each in group if body.choice in (None, each.choice)]
    if len(chosen) > 1:
        raise InvalidRequest(
            f"that request had {len(chosen)} answers; name one by its id, or by choice, from 0", param="choice"
        )
    if not chosen:
        raise _unknown(body, parts)
    return chosen[0]


def _unknown(body: FeedbackRequest, parts: Parts) -> UnknownName:
    param = "id" if body.id is not None else "request_id"
    most = parts.exchanges.most
    if not most:
        return UnknownName("no answer is kept here to be judged: RAGTUNE_FEEDBACK_WINDOW is 0", param=param)
    choice = "" if body.choice is None else f" with the choice {body.choice}"
    return UnknownName(
        f"no answer of yours to {param} {body.id or body.request_id!r}{choice} is kept (any more); the last {most:,} "
        "answers since the service started can be judged (RAGTUNE_FEEDBACK_WINDOW)",
        param=param,
    )


def _entry(request: Request, exchange: Exchange, opinion: Opinion) -> Entry:
    """For the audit log: each opinion with its score, also one that is replaced later."""
    caller = known_caller(request.scope)
    return Entry(
        who=caller.name if caller else None,
        key=caller.key if caller else None,
        tenant=caller.tenant or None if caller else None,
        method=request.method,
        path=f"{request.url.path}/{exchange.id}?score={opinion.score:g}",
        status=200,
        request_id=request_id(request),
    )
