"""The service under evaluation, over HTTP: what it is, what it knows, and one answer at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from eval.answers import ChatAnswer, reply_of
from eval.asking import Asked, Outcome, failed, patiently, reason
from eval.runfile import Model, Server
from ragtune.errors import RefusedArtifact, Unavailable
from ragtune.remote import Target
from ragtune.wire import Answer, Passage, QueryRequest

_KEEPALIVE = 2.0  # seconds: shorter than servers keep idle connections, so that none is closed under a request
_AMPLE = 1_000_000  # tokens: passages that are given were chosen already, and only the window limits them
ANY_SCORE = -1e9
"""The `min_score` of searches that are not to leave anything out, however the service is set."""
_B = TypeVar("_B", bound=BaseModel)


class Service:
    """A running ragtune service, as the evaluator sees it. Every method raises Unavailable if it is gone."""

    def __init__(self, client: httpx.AsyncClient, url: str, deadline: float) -> None:
        self.client = client
        self.url = url
        self.deadline = deadline  # seconds, for the service to keep

    async def describe(self) -> Server:
        """What it says of itself. Raises Unavailable if nothing answers, or nothing of ours."""
        health = await self.get("/healthz", _Health)
        models = await self.get("/v1/models", _Models)
        return Server(**health.model_dump(), models=models.data)

    async def check(self, mode: str) -> Model:
        """What the mode means. Raises RefusedArtifact, with the server's reason, if it cannot answer in it."""
        return await self.get(f"/v1/models/{mode}", Model)

    async def ask(self, asked: Asked) -> Outcome:
        """One reply. Waits out an overload."""
        if asked.history:
            return await self._converse(asked)
        body = QueryRequest(
            query=asked.query,
            mode=asked.mode,
            passages=asked.passages,
            top_k=asked.top_k,
            passage_tokens=None if asked.passages is None else _AMPLE,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            seed=asked.seed,
            deadline=self.deadline,
        )
        answer, outcome = await self.post("/v1/query", body.model_dump(mode="json", exclude_none=True), Answer)
        return outcome if answer is None else replace(outcome, reply=reply_of(answer))

    async def _converse(self, asked: Asked) -> Outcome:
        """A question with a history goes where conversations go."""
        body: dict[str, object] = {
            "model": asked.mode,
            "messages": asked.messages,
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
            "seed": asked.seed,
            "deadline": self.deadline,
        }
        if asked.passages is not None:
            given = [passage.model_dump(mode="json") for passage in asked.passages]
            body["ragtune"] = {"passages": given, "passage_tokens": _AMPLE}
        elif asked.top_k is not None:
            body["ragtune"] = {"top_k": asked.top_k}
        answer, outcome = await self.post("/v1/chat/completions", body, ChatAnswer)
        return outcome if answer is None else replace(outcome, reply=answer.reply())

    async def search(self, index: str, body: dict[str, object]) -> tuple[list[Passage] | None, Outcome]:
        """Passages of an index, best first; None with the reason if it refuses."""
        found, outcome = await self.post(f"/v1/indexes/{index}/search", body, _Found)
        return None if found is None else found.passages, outcome

    async def ready(self) -> None:
        """Raises Unavailable if the service takes no requests."""
        try:
            response = await self.client.get("/readyz")
        except httpx.HTTPError as error:
            raise Unavailable(f"the service at {self.url} no longer answers ({type(error).__name__})") from error
        if response.is_error:
            raise Unavailable(f"the service at {self.url} no longer takes requests ({reason(response)})")

    async def get(self, path: str, shape: type[_B]) -> _B:
        """What the service has there. Raises RefusedArtifact with its reason if it refuses."""
        try:
            response = await self.client.get(path)
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"no service answers at {self.url} ({what}); start one with 'ragtune serve'") from error
        if response.is_error:
            raise RefusedArtifact(f"the service at {self.url} refuses {path}: {reason(response)}")
        try:
            return shape.model_validate_json(response.content)
        except ValidationError as error:
            raise Unavailable(
                f"what answers at {self.url} is no ragtune service ({path} is not as expected)"
            ) from error

    async def post(self, path: str, body: dict[str, object], shape: type[_B]) -> tuple[_B | None, Outcome]:
        """What the service says, beside how often it was too busy; or None, beside the reason."""
        said: _B | None = None
        status = 0

        async def once() -> Outcome:
            nonlocal said, status
            try:
                response = await self.client.post(path, json=body)
            except httpx.HTTPError as error:
                await self.ready()
                return Outcome(error=f"{type(error).__name__} {error}".strip())
            status = response.status_code
            if response.is_error:
                return failed(response)
            try:
                said = shape.model_validate_json(response.content)
            except ValidationError as error:
                return Outcome(error=f"not an answer: {error.errors()[0]['msg']}")
            return Outcome()

        outcome = await patiently(once)
        if status == Unavailable.status:
            await self.ready()
        return said, outcome


@asynccontextmanager
async def connect(
    target: Target, *, timeout: float, concurrency: int, deadline: float | None = None
) -> AsyncIterator[Service]:
    """The service at `target`, each request bounded by `timeout` seconds, its work by `deadline`, which is the same if
    it is None. Raises Unavailable for what is no URL."""
    limits = httpx.Limits(max_connections=concurrency, keepalive_expiry=_KEEPALIVE)
    try:
        client = httpx.AsyncClient(
            base_url=target.url,
            headers=target.headers,
            timeout=httpx.Timeout(timeout),
            limits=limits,
            trust_env=not target.near,
        )
    except httpx.InvalidURL as error:
        raise Unavailable(f"{target.url!r} is no URL: {error}") from error
    async with client:
        yield Service(client, target.url, deadline or timeout)


class _Health(BaseModel):
    base: str
    note: str | None
    fingerprint: str
    device: str
    max_model_len: int
    deadline: float | None = None


class _Models(BaseModel):
    data: tuple[Model, ...]


class _Found(BaseModel):
    passages: list[Passage]
