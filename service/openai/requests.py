"""What OpenAI clients send.

Unknown fields are accepted; known fields that are not implemented are refused, never ignored.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ragtune.errors import InvalidRequest
from ragtune.prompt import Message
from ragtune.wire import Sampling

# Fields of the OpenAI API that are known here but not implemented, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),  # in completions 0 asks for the chosen token's own
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "echo": (False,),
    "suffix": ("",),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "store": (False,),
    "web_search_options": (),
}


def _asks_nothing(value: object, neutral: tuple[Any, ...]) -> bool:
    """Whether `value` is one of the neutral ones; to Python, but not in JSON, 0 is False and 1 is True."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in neutral)


class TextPart(BaseModel):
    """A part of a message's content; only text can be read."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message; `developer` is a newer word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def flat(self) -> Message:
        """With the parts joined."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=content)


class StreamOptions(BaseModel):
    """`include_usage` adds a last chunk with the usage."""

    include_usage: bool = False


class GenerationRequest(BaseModel):
    """What chat and text completions share. `top_k`, `ignore_eos`, `stop_token_ids`, `deadline` are extensions."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, description="the mode, e.g. support-lora+rag")
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = Field(default=None)
    stop_token_ids: list[int] | None = Field(default=None, max_length=64)
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    deadline: float | None = Field(default=None, gt=0, description="seconds")
    user: str | None = None

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> "GenerationRequest":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed with stream: true")
        return self

    def refuse_unsupported(self) -> None:
        """Raises InvalidRequest for the first known field that asks for something not implemented."""
        for name, value in (self.model_extra or {}).items():
            if name in _NEUTRAL and value is not None and not _asks_nothing(value, _NEUTRAL[name]):
                raise InvalidRequest(f"{name} is not supported yet; leave it out", param=name)

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self) -> Sampling:
        """With OpenAI's defaults: temperature 1, top_p 1. The number of tokens is settled when the prompt is known."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > 16:
            raise InvalidRequest("at most 16 stop strings", param="stop")
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=max(0, self.top_k or 0),
            seed=self.seed,
            stop=tuple(stop),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            ignore_eos=bool(self.ignore_eos),
        )


class ChatRequest(GenerationRequest):
    """POST /v1/chat/completions. `max_completion_tokens` is the newer name of `max_tokens`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def new_tokens(self) -> int | None:
        """How many tokens to generate at most, if the client says."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(GenerationRequest):
    """POST /v1/completions: a text, texts, token ids, or lists of token ids."""

    prompt: str | list[str] | list[int] | list[list[int]]

    def prompts(self) -> list[str] | list[list[int]]:
        """Always a list of prompts. Raises InvalidRequest for an empty one."""
        prompts: list[Any] = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if prompts and isinstance(prompts[0], int):
            prompts = [prompts]
        if not prompts or any(len(prompt) == 0 for prompt in prompts):
            raise InvalidRequest("the prompt is empty", param="prompt")
        return prompts
