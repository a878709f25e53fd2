"""Answers of the service as the run file keeps them."""

from pydantic import BaseModel, Field

from eval.runfile import Reply, Shown, Used
from ragtune.wire import Answer, CitedPassage, FinishReason, Timings


def reply_of(answer: Answer) -> Reply:
    """From an answer of /v1/query."""
    return Reply(
        id=answer.id,
        text=answer.text,
        finish_reason=answer.finish_reason,
        resolved_mode=answer.resolved_mode,
        versions=answer.versions,
        passages=shown(answer.passages),
        usage=Used(**answer.usage.model_dump()),
        timings=answer.timings,
    )


def shown(passages: list[CitedPassage]) -> tuple[Shown, ...]:
    """What is kept of passages."""
    return tuple(Shown(**passage.model_dump(include=set(Shown.model_fields))) for passage in passages)


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: FinishReason


class _Details(BaseModel):
    cached_tokens: int = 0


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details = _Details()


class _Extension(BaseModel):
    mode: str
    versions: dict[str, str]
    passages: list[CitedPassage] = []
    virtual_tokens: int = 0
    timings: Timings


class ChatAnswer(BaseModel):
    """An answer of /v1/chat/completions, with what the service adds to it."""

    id: str
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage
    ragtune: _Extension

    def reply(self) -> Reply:
        """As one of /v1/query."""
        usage = Used(
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            cached_tokens=self.usage.prompt_tokens_details.cached_tokens,
            virtual_tokens=self.ragtune.virtual_tokens,
        )
        return Reply(
            id=self.id,
            text=self.choices[0].message.content,
            finish_reason=self.choices[0].finish_reason,
            resolved_mode=self.ragtune.mode,
            versions=self.ragtune.versions,
            passages=shown(self.ragtune.passages),
            usage=usage,
            timings=self.ragtune.timings,
        )
