"""Log-probabilities of texts that are given, where an answer would stand.

The service renders the conversation as the mode would (template and passages included), and tells the token ids. They
and those of the text are sent as a raw prompt, in the mode's adapters alone: all else of it is in the prompt already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, Field

from eval.asking import Asked
from eval.client import Service
from eval.runfile import Likelihood, Reply, Used
from ragtune.mode import Mode
from ragtune.wire import Timings

_B = TypeVar("_B", bound=BaseModel)


@dataclass
class Scorer:
    """Has texts scored by a service, one request a text. `sent` are the tokens of these requests, `retries` how often
    the service was too busy, `error` why a text could not be had."""

    service: Service
    sent: int = 0
    retries: int = 0
    error: str | None = None

    async def likelihoods(self, asked: Asked, texts: Sequence[str]) -> tuple[Likelihood, ...]:
        """Of each text, right after the question; none at all where one cannot be had.

        The end of the turn is not counted: of texts with the same beginning, a longer one is another.
        """
        prompt = await self._post("/tokenize", {"model": asked.mode, "messages": asked.messages}, _Tokens)
        mode = str(Mode(adapters=Mode.parse(asked.mode).adapters))
        found: list[Likelihood] = []
        for text in texts:
            one = await self._one(mode, prompt, text) if prompt else None
            if one is None:
                return ()
            found.append(one)
        return tuple(found)

    async def _one(self, mode: str, prompt: "_Tokens", text: str) -> Likelihood | None:
        raw = {"model": mode, "prompt": text, "add_special_tokens": False}
        own = await self._post("/tokenize", raw, _Tokens)
        if own is None:
            return None
        tokens = [*prompt.tokens, *own.tokens]
        self.sent += len(tokens)
        body = {"model": mode, "prompt": tokens, "max_tokens": 0, "echo": True, "logprobs": 0}
        scored = await self._post("/v1/completions", body | {"deadline": self.service.deadline}, _Scored)
        if scored is None:
            return None
        told = scored.choices[0].logprobs.token_logprobs[-len(own.tokens) :]
        known = [logprob for logprob in told if logprob is not None]
        if len(known) < len(own.tokens):
            self.error = f"the service told {len(known)} log-probabilities of {len(own.tokens)} tokens"
            return None
        return Likelihood(text=text, logprob=sum(known), tokens=len(known))

    async def _post(self, path: str, body: dict[str, object], shape: type[_B]) -> _B | None:
        said, outcome = await self.service.post(path, body, shape)
        self.retries += outcome.retries
        self.error = self.error or outcome.error
        return said


def likeliest(asked: Asked, found: Sequence[Likelihood], sent: int, milliseconds: float) -> Reply:
    """The reply where nothing is generated: the text with the highest sum."""
    return Reply(
        id="",
        text=max(found, key=lambda one: one.logprob).text,
        finish_reason="stop",
        resolved_mode=asked.mode,
        versions={},
        likelihoods=tuple(found),
        usage=Used(prompt_tokens=sent, completion_tokens=0),
        timings=Timings(total_ms=round(milliseconds, 2)),
    )


class _Tokens(BaseModel):
    tokens: tuple[int, ...] = Field(min_length=1)


class _Logprobs(BaseModel):
    token_logprobs: list[float | None]


class _Text(BaseModel):
    logprobs: _Logprobs


class _Scored(BaseModel):
    choices: list[_Text] = Field(min_length=1)
