"""What OpenAI clients get. Everything of ours sits under the one field `ragtune`."""

from typing import Literal

from pydantic import BaseModel, Field

from ragtune.wire import Answer, CitedPassage, FinishReason, Timings


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
    def of(cls, answers: list[Answer]) -> "OpenAIUsage":
        """The sum over `answers`."""
        prompt = sum(answer.usage.prompt_tokens for answer in answers)
        completion = sum(answer.usage.completion_tokens for answer in answers)
        cached = sum(answer.usage.cached_tokens for answer in answers)
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
    virtual_tokens: int
    timings: Timings

    @classmethod
    def of(cls, answer: Answer) -> "Extension":
        """From an answer."""
        return cls(
            mode=answer.resolved_mode,
            versions=answer.versions,
            passages=answer.passages,
            passages_retrieved=answer.passages_retrieved,
            virtual_tokens=answer.usage.virtual_tokens,
            timings=answer.timings,
        )


class AssistantMessage(BaseModel):
    """The answer's message."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    """The one choice."""

    index: int = 0
    message: AssistantMessage
    logprobs: None = None
    finish_reason: FinishReason


class TextChoice(BaseModel):
    """One choice a prompt."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: FinishReason | None


class ChatCompletion(BaseModel):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: OpenAIUsage
    ragtune: Extension


class Completion(BaseModel):
    """The answer of /v1/completions, and a chunk of its stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: OpenAIUsage | None = None
    ragtune: Extension | None = None


class Delta(BaseModel):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """The one choice of a chunk."""

    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    """A chunk of a chat stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: OpenAIUsage | None = None
    ragtune: Extension | None = None


class ModelCard(BaseModel):
    """One thing that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="seconds since 1970")
    owned_by: str = "ragtune"
    root: str | None = None
    parent: str | None = None
    max_model_len: int
    kind: Literal["base", "lora", "soft_prompt", "prefix", "index", "template", "combination"]


class ModelList(BaseModel):
    """The answer of /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
