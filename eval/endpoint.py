"""Another server with an OpenAI-compatible API, asked by streaming, so that its first token can be timed."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from pydantic import BaseModel, ValidationError

from eval.asking import Asked, Outcome, failed, patiently
from eval.runfile import Reply, Used
from eval.suite import Arm
from ragtune.errors import RefusedArtifact, Unavailable
from ragtune.remote import is_loopback
from ragtune.wire import FinishReason, Timings

LOST = 20  # requests in a row without any answer, after which an endpoint is given up
_AGAIN = 1.0  # seconds before one that could not be reached is tried again
_DONE = "[DONE]"


@dataclass
class Endpoint:
    """An endpoint's model. Timings are those of the client: the way there and back is part of them."""

    client: httpx.AsyncClient
    url: str
    timeout: float
    _lost: int = 0

    async def ask(self, asked: Asked) -> Outcome:
        """One reply. Once LOST requests in a row got no answer at all, the others fail without being sent."""
        if self._lost >= LOST:
            return Outcome(error=f"not asked: {self.url} gave no answer {LOST} times in a row")
        return await patiently(lambda: self._ask(asked))

    async def _ask(self, asked: Asked) -> Outcome:
        body = {
            "model": asked.mode,
            "messages": asked.messages,
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
            "seed": asked.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        heard = _Heard(asked.mode, time.monotonic())
        try:
            async with (
                asyncio.timeout(self.timeout),
                self.client.stream("POST", "chat/completions", json=body) as response,
            ):
                self._lost = 0
                if response.is_error:
                    await response.aread()
                    return failed(response)
                async for line in response.aiter_lines():
                    if line.startswith("data:") and heard.hear(line.removeprefix("data:").strip()):
                        break
        except (httpx.HTTPError, TimeoutError) as error:
            return self._unanswered(error, heard)
        except ValidationError as error:
            return Outcome(error=f"not an answer: {error.errors()[0]['msg']}")
        return heard.outcome()

    def _unanswered(self, error: httpx.HTTPError | TimeoutError, heard: "_Heard") -> Outcome:
        """A stream that broke off, a time-out, or nobody there: only the last is worth trying again at once."""
        if isinstance(error, TimeoutError):
            why = f"no whole answer within {self.timeout:g} s"
        else:
            why = f"{type(error).__name__} {error}".strip()
        if heard.begun:
            return Outcome(error=f"the stream was cut off: {why}")
        self._lost += 1
        refused = isinstance(error, httpx.ConnectError) and self._lost < LOST
        return Outcome(error=why, wait=_AGAIN if refused else None)


@dataclass
class _Heard:
    """What a stream said so far."""

    model: str
    asked: float
    text: str = ""
    id: str = ""
    first_token: float | None = None
    finish_reason: str | None = None
    usage: "_Usage | None" = None
    refused: str | None = None
    done: bool = False
    begun: bool = False

    def hear(self, data: str) -> bool:
        """Take in one event; whether it was the last. Raises ValidationError for what is no chunk."""
        self.begun = True
        if data == _DONE:
            self.done = True
            return True
        chunk = _Chunk.model_validate_json(data)
        self.refused = chunk.error.message if chunk.error else self.refused
        self.id = chunk.id or self.id
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices[:1]:
            if choice.delta.content and self.first_token is None:
                self.first_token = time.monotonic()
            self.text += choice.delta.content or ""
            self.finish_reason = choice.finish_reason or self.finish_reason
        return False

    def outcome(self) -> Outcome:
        """A reply, if the stream was whole."""
        if self.refused is not None:
            return Outcome(error=f"an error in the stream: {self.refused}")
        if self.finish_reason is None or not self.done:
            return Outcome(error="the stream was cut off: it ended without a finish reason and [DONE]")
        if self.finish_reason not in ("stop", "length"):
            return Outcome(error=f"the answer ended with {self.finish_reason!r}")
        if self.usage is None:
            return Outcome(error="the stream told no usage; the endpoint must heed stream_options.include_usage")
        now = time.monotonic()
        finish: FinishReason = "stop" if self.finish_reason == "stop" else "length"
        timings = Timings(
            first_token_ms=round(1e3 * ((self.first_token or now) - self.asked), 2),
            total_ms=round(1e3 * (now - self.asked), 2),
        )
        return Outcome(
            Reply(
                id=self.id,
                text=self.text,
                finish_reason=finish,
                resolved_mode=self.model,
                versions={},
                usage=self.usage.ours(),
                timings=timings,
            )
        )


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details | None = None

    def ours(self) -> Used:
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        return Used(prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens, cached_tokens=cached)


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Error(BaseModel):
    message: str = "without a reason"


class _Chunk(BaseModel):
    id: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


def key_of(name: str | None) -> str | None:
    """The API key in the environment variable `name`. Raises RefusedArtifact if it is not set."""
    if name is None:
        return None
    if not (key := os.environ.get(name)):
        raise RefusedArtifact(
            f"the environment variable {name} is not set, and the suite names it as api_key_env; set it"
        )
    return key


@asynccontextmanager
async def reach(arm: Arm, *, timeout: float, concurrency: int) -> AsyncIterator[Endpoint]:
    """The endpoint of an outside arm. Raises RefusedArtifact without its key, and Unavailable for what is no URL."""
    key, url = key_of(arm.api_key_env), str(arm.endpoint).rstrip("/")
    try:
        client = httpx.AsyncClient(
            base_url=f"{url}/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(max_connections=concurrency),
            trust_env=not is_loopback(url),
        )
    except httpx.InvalidURL as error:
        raise Unavailable(f"{url!r} is no URL: {error}") from error
    async with client:
        yield Endpoint(client, url, timeout)
