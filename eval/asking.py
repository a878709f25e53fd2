"""One thing that is asked of a service or an endpoint, and what comes of it."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

import httpx
from pydantic import BaseModel, ValidationError

from eval.runfile import Reply
from ragtune.errors import InvalidRequest
from ragtune.prompt import Message
from ragtune.wire import GivenPassage

RETRIES = 5
LONGEST_WAIT = 30.0  # seconds, whatever Retry-After says
BUSY = (429, 503)


@dataclass(frozen=True)
class Asked:
    """A request to generate. `mode` is the mode, its versions pinned, or an endpoint's model; `passages` stand in the
    prompt instead of what would be retrieved."""

    mode: str
    query: str
    max_tokens: int
    history: tuple[Message, ...] = ()
    passages: tuple[GivenPassage, ...] | None = None
    top_k: int | None = None
    temperature: float = 0.0
    seed: int = 0

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation, the question last."""
        told = [*self.history, Message(role="user", content=self.query)]
        return [{"role": message.role, "content": message.content} for message in told]

    def fingerprint(self, *more: str) -> str:
        """Equal for requests that ask the same; `more` is what else decides about the answer."""
        passages = None if self.passages is None else [passage.model_dump() for passage in self.passages]
        parts = [self.mode, self.messages, passages, self.top_k, self.max_tokens, self.temperature, self.seed, *more]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=list).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Outcome:
    """A reply, or the reason why there is none; `retries` is how often it was asked in vain before.

    `wait` are the seconds after which it is worth asking again, None where it is not. `refused`: what was asked for is
    itself at fault.
    """

    reply: Reply | None = None
    error: str | None = None
    retries: int = 0
    wait: float | None = None
    refused: bool = False


class Asker(Protocol):
    """Whoever answers."""

    async def ask(self, asked: Asked) -> Outcome:
        """One reply, or why there is none."""


async def patiently(ask: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """What `ask` comes to, asked again RETRIES times at most while it is worth it."""
    for retries in range(RETRIES + 1):
        outcome = replace(await ask(), retries=retries)
        if outcome.wait is None or retries == RETRIES:
            break
        await asyncio.sleep(outcome.wait)
    return outcome


def failed(response: httpx.Response) -> Outcome:
    """What an error status comes to; too busy is worth asking again, after as long as Retry-After says."""
    wait = _wait(response) if response.status_code in BUSY else None
    return Outcome(error=reason(response), wait=wait, refused=response.status_code == InvalidRequest.status)


def reason(response: httpx.Response) -> str:
    """The status and the server's own words."""
    try:
        message = _Refusal.model_validate_json(response.content).error.message
    except ValidationError:
        message = " ".join(response.text[:200].split())
    return f"HTTP {response.status_code}: {message}"


class _Error(BaseModel):
    message: str


class _Refusal(BaseModel):
    """An error as OpenAI words it; what else is in it differs from server to server."""

    error: _Error


def _wait(response: httpx.Response) -> float:
    """Seconds, within reason; one where Retry-After says nothing we can read."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 1.0
