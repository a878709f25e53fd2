"""What OpenAI clients get. Everything of ours sits under the one field `ragtune`.

Fields that OpenAI leaves out where they say nothing are left out here, too (`exclude_if`); those it sends as null are
null.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.manifest import AdapterKind
from ragtune.wire import Answer, CitedPassage, FinishReason, Retrieved, Timings
from service.transcript import Candidate, Token

_EXAMPLE: dict[str, Any] = {
    "created": 1795600000,
    "model": "support-lora",
    "usage": {
        "prompt_tokens": 17,
        "completion_tokens": 5,
        "total_tokens": 22,
        "prompt_tokens_details": {"cached_tokens": 16},
    },
    "ragtune": {
        "mode": "support-lora@2",
        "versions": {"weights": "support-lora@2"},
        "passages": [],
        "passages_retrieved": 0,
        "virtual_tokens": 0,
        "timings": {"first_token_ms": 61.0, "total_ms": 180.2},
    },
}
_CHAT_EXAMPLE: dict[str, Any] = {
    "id": "chatcmpl-4f2a",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "26 months.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    **_EXAMPLE,
}
_TEXT_EXAMPLE: dict[str, Any] = {
    "id": "cmpl-4f2a",
    "object": "text_completion",
    "choices": [{"index": 0, "text": " 26 months.", "logprobs": None, "finish_reason": "stop"}],
    **_EXAMPLE,
}


def _absent(value: object) -> bool:
    return value is None


def _optional(description: str | None = None) -> Any:
    return Field(default=None, exclude_if=_absent, description=description)


class TokenDetails(BaseModel):
    """Tokens whose KV was taken from the cache."""

    cached_tokens: int


class OpenAIUsage(BaseModel):
    """Token counts as OpenAI names them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails

    @classmethod
    def of(cls, answers: Sequence[Answer], choices: int = 1) -> "OpenAIUsage":
        """The sum over `answers`; each prompt counts once for its `choices`, which stand together."""
        prompt = sum(answer.usage.prompt_tokens for answer in answers[::choices])
        completion = sum(answer.usage.completion_tokens for answer in answers)
        cached = sum(answer.usage.cached_tokens for answer in answers[::choices])
        details = TokenDetails(cached_tokens=cached)
        return cls(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=details,
        )


class Extension(BaseModel):
    """What a mode adds to an OpenAI answer."""

    mode: str
    versions: dict[str, str]
    passages: list[CitedPassage]
    passages_retrieved: int
    retrieval: Retrieved | None = Field(default=None, description="how passages were found; absent without rag")
    notes: list[str] = Field(default=[], description="where an adapter is served otherwise than it was trained")
    virtual_tokens: int
    timings: Timings
    further: list["Extension"] | None = _optional("those of the further choices, in order")

    @classmethod
    def of(cls, answer: Answer, *further: Answer) -> "Extension":
        """From an answer, and those beside it."""
        return cls(
            mode=answer.resolved_mode,
            versions=answer.versions,
            passages=answer.passages,
            passages_retrieved=answer.passages_retrieved,
            retrieval=answer.retrieval,
            notes=answer.notes,
            virtual_tokens=answer.usage.virtual_tokens,
            timings=answer.timings,
            further=[cls.of(other) for other in further] or None,
        )


class TopLogprob(BaseModel):
    """A token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int]

    @classmethod
    def of(cls, candidate: Candidate) -> "TopLogprob":
        """From a candidate."""
        return cls(token=candidate.text, logprob=candidate.logprob, bytes=list(candidate.bytes))


class TokenLogprob(BaseModel):
    """A token of the answer; tokens add up to the text, their bytes to its UTF-8."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]

    @classmethod
    def of(cls, token: Token) -> "TokenLogprob":
        """From a token of an answer."""
        return cls(
            token=token.text,
            logprob=token.logprob if token.logprob is not None else float("-inf"),
            bytes=list(token.bytes),
            top_logprobs=[TopLogprob.of(candidate) for candidate in token.best],
        )


class ChatLogprobs(BaseModel):
    """Log-probabilities as chat completions tell them."""

    content: list[TokenLogprob]
    refusal: None = None

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> "ChatLogprobs":
        """From tokens of an answer."""
        return cls(content=[TokenLogprob.of(token) for token in tokens])


class TextLogprobs(BaseModel):
    """Log-probabilities as text completions tell them; null where nothing stands before the token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    @classmethod
    def of(cls, tokens: Sequence[Token], offset: int = 0) -> "TextLogprobs":
        """From tokens of a text, the first of which begins at character `offset`."""
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
        return cls(
            tokens=[token.text for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[_top(token) for token in tokens],
            text_offset=offsets,
        )


def _top(token: Token) -> dict[str, float] | None:
    """The token itself and the likeliest in its place, by text; two of the same text are told apart by their ids."""
    if token.logprob is None:
        return None
    top = {token.text: token.logprob}
    for candidate in token.best:
        if candidate.token_id != token.token_id:
            key = candidate.text if candidate.text not in top else f"token_id:{candidate.token_id}"
            top[key] = candidate.logprob
    return top


class AssistantMessage(BaseModel):
    """The answer's message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One of `n` answers."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class TextChoice(BaseModel):
    """One of `n` answers to one of the prompts; those to the first prompt come first."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None


class ChatCompletion(BaseModel):
    """The answer of /v1/chat/completions."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHAT_EXAMPLE]})

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: OpenAIUsage
    ragtune: Extension


class Completion(BaseModel):
    """The answer of /v1/completions, and a chunk of its stream."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TEXT_EXAMPLE]})

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: OpenAIUsage | None = _optional("in a stream only with include_usage")
    ragtune: Extension | None = _optional("in a stream with the finish reason")


class Delta(BaseModel):
    """What a chunk adds."""

    role: Literal["assistant"] | None = _optional()
    content: str | None = _optional()


class ChunkChoice(BaseModel):
    """The one choice of a chunk."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    """A chunk of a chat stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: OpenAIUsage | None = _optional("only with include_usage, in the last chunk")
    ragtune: Extension | None = _optional("with the finish reason")


class ModelCard(BaseModel):
    """One thing that can be asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "support-lora",
                    "object": "model",
                    "created": 1795600000,
                    "owned_by": "ragtune",
                    "root": "support-lora@2",
                    "parent": "SmolLM2-135M-Instruct",
                    "max_model_len": 4096,
                    "kind": "lora",
                }
            ]
        }
    )

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="seconds since 1970")
    owned_by: str = "ragtune"
    root: str | None = None
    parent: str | None = None
    max_model_len: int
    kind: AdapterKind | Literal["base", "index", "template", "combination", "embedding", "alias"]


class ModelList(BaseModel):
    """The answer of /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
