"""The service under evaluation, over HTTP: what it is, what it knows, and one answer at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from eval.runfile import Model, Server
from ragtune.errors import RefusedArtifact, Unavailable
from ragtune.mode import Ref
from ragtune.remote import Target
from ragtune.wire import Answer, ErrorEnvelope, QueryRequest

RETRIES = 5
LONGEST_WAIT = 30.0  # seconds, whatever Retry-After says
_RETRIED = (429, 503)
_KEEPALIVE = 2.0  # seconds: shorter than servers keep idle connections, so that none is closed under a request
_B = TypeVar("_B", bound=BaseModel)


@dataclass(frozen=True)
class Outcome:
    """An answer, or the reason why there is none; `retries` is how often the service was too busy before."""

    answer: Answer | None
    error: str | None
    retries: int


class Service:
    """A running ragtune service, as the evaluator sees it."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def describe(self) -> Server:
        """What it says of itself. Raises Unavailable if nothing answers, or nothing of ours."""
        health = await self._get("/healthz", _Health)
        models = await self._get("/v1/models", _Models)
        return Server(**health.model_dump(), models=models.data)

    async def check(self, mode: str) -> Model:
        """What the mode means. Raises RefusedArtifact, with the server's reason, if it cannot answer in it."""
        return await self._get(f"/v1/models/{mode}", Model)

    async def training_seconds(self, adapter: Ref) -> float | None:
        """How long the adapter was trained, or None if that is not recorded."""
        training = (await self._get(f"/v1/adapters/{adapter}", _Adapter)).manifest.training
        return training.seconds if training else None

    async def ask(self, request: QueryRequest) -> Outcome:
        """One answer. Waits out an overload RETRIES times. Raises Unavailable if the service itself is gone."""
        for retries in range(RETRIES + 1):
            try:
                response = await self._client.post("/v1/query", json=request.model_dump(exclude_none=True))
            except httpx.HTTPError as error:
                await self.ready()
                return Outcome(None, f"{type(error).__name__} {error}".strip(), retries)
            if response.status_code not in _RETRIED or retries == RETRIES:
                break
            await asyncio.sleep(_wait(response))
        if response.status_code == Unavailable.status:
            await self.ready()
        if response.is_error:
            return Outcome(None, _reason(response), retries)
        try:
            return Outcome(Answer.model_validate_json(response.content), None, retries)
        except ValidationError as error:
            return Outcome(None, f"not an answer: {error.errors()[0]['msg']}", retries)

    async def ready(self) -> None:
        """Raises Unavailable if the service takes no requests."""
        try:
            response = await self._client.get("/readyz")
        except httpx.HTTPError as error:
            raise Unavailable(f"the service at {self._url} no longer answers ({type(error).__name__})") from error
        if response.is_error:
            raise Unavailable(f"the service at {self._url} no longer takes requests ({_reason(response)})")

    async def _get(self, path: str, shape: type[_B]) -> _B:
        try:
            response = await self._client.get(path)
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"no service answers at {self._url} ({what}); start one with 'ragtune serve'") from error
        if response.is_error:
            raise RefusedArtifact(f"the service at {self._url} refuses {path}: {_reason(response)}")
        try:
            return shape.model_validate_json(response.content)
        except ValidationError as error:
            raise Unavailable(
                f"what answers at {self._url} is no ragtune service ({path} is not as expected)"
            ) from error


@asynccontextmanager
async def connect(target: Target, *, timeout: float, concurrency: int) -> AsyncIterator[Service]:
    """The service at `target`, each request bounded by `timeout` seconds. Raises Unavailable for what is no URL."""
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
        yield Service(client, target.url)


class _Health(BaseModel):
    base: str
    note: str | None
    fingerprint: str
    device: str
    max_model_len: int


class _Models(BaseModel):
    data: tuple[Model, ...]


class _Training(BaseModel):
    seconds: float


class _Manifest(BaseModel):
    training: _Training | None = None


class _Adapter(BaseModel):
    manifest: _Manifest


def _wait(response: httpx.Response) -> float:
    """Seconds to wait, as Retry-After says, within reason; a second where it says nothing we can read."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 1.0


def _reason(response: httpx.Response) -> str:
    try:
        message = ErrorEnvelope.model_validate_json(response.content).error.message
    except ValidationError:
        message = " ".join(response.text[:200].split())
    return f"HTTP {response.status_code}: {message}"
