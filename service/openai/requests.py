"""What OpenAI clients send.

Unknown fields are accepted; known fields that are not implemented are refused, never ignored. docs/reference/openai.md
has the table of all of them.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from ragtune.errors import InvalidRequest
from ragtune.prompt import Message
from ragtune.wire import Count, Grounding, Number, Sampling
from service.engine.grammar import ANY_OBJECT

MOST_CHOICES = 128
_INT64 = 2**63

# Fields that OpenAI, vLLM or llama.cpp know and this server does not implement, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    # OpenAI
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "metadata": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),  # about calls that never happen
    "prediction": (),
    "prompt_cache_options": ({},),
    "prompt_cache_retention": ("in_memory", "in-memory"),
    "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "verbosity": ("medium",),
    "web_search_options": (),
    # vLLM
    "add_generation_prompt": (True,),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "cache_salt": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "documents": ([],),
    "ec_transfer_params": (),
    "guided_choice": (),
    "guided_decoding_backend": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_whitespace_pattern": (),
    "include_reasoning": (True, False),
    "include_stop_str_in_output": (False,),
    "kv_transfer_params": (),
    "length_penalty": (1,),
    "logprob_token_ids": ([],),
    "logits_processors": ([],),
    "media_io_kwargs": ({},),
    "mm_processor_kwargs": ({},),
    "priority": (0,),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "repetition_detection": (),
    "request_id": (),  # here it is the header X-Request-ID
    "return_prompt_text": (False,),
    "return_token_ids": (False,),
    "return_token_offsets": (False,),
    "return_tokens_as_token_ids": (False,),
    "session_id": (),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stream_interval": (1,),
    "structured_outputs": (),
    "thinking_token_budget": (-1,),
    "truncate_prompt_tokens": (),
    "truncation_side": (),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
    "watermarking": (),
    # llama.cpp
    "cache_prompt": (True,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "grammar": ("",),
    "id_slot": (-1,),
    "json_schema": (),
    "lora": ([],),
    "min_keep": (0,),
    "mirostat": (0,),
    "n_cmpl": (1,),
    "n_indent": (0,),
    "n_keep": (0,),
    "n_predict": (-1,),
    "n_probs": (0,),
    "post_sampling_probs": (False,),
    "reasoning_format": ("none", "auto"),
    "repeat_last_n": (),
    "repeat_penalty": (1,),
    "response_fields": ([],),
    "return_progress": (False,),
    "return_tokens": (False,),
    "samplers": (),
    "t_max_predict_ms": (),
    "timings_per_token": (False,),
    "top_n_sigma": (-1,),
    "typical_p": (1,),
    "xtc_probability": (0,),
}


_NOT_IN_CHAT: dict[str, tuple[Any, ...]] = {
    "add_special_tokens": (False,),
    "echo": (False,),
    "prompt": (),
    "query": (),
}
_NOT_IN_TEXT: dict[str, tuple[Any, ...]] = {"add_special_tokens": (True,), "messages": (), "top_logprobs": (0,)}


def _asks_nothing(value: object, neutral: tuple[Any, ...]) -> bool:
    """Whether `value` is one of the neutral ones; to Python, but not in JSON, 0 is False and 1 is True."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in neutral)


def refuse_known(extra: dict[str, Any] | None, neutral: dict[str, tuple[Any, ...]], place: str = "") -> None:
    """Raises InvalidRequest for the first of the `neutral` fields that asks for something; the rest is unknown."""
    for name, value in (extra or {}).items():
        if name in neutral and value is not None and not _asks_nothing(value, neutral[name]):
            raise InvalidRequest(f"{place}{name} is not supported; leave it out", param=place + name)


class TextPart(BaseModel):
    """A part of a message's content; only text can be read."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message; `developer` is a newer word for `system`."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = Field(default=None, description="accepted; chat templates here show the role alone")

    def flat(self) -> Message:
        """With the parts joined."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=content)


_IN_MESSAGES: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": (),
    "reasoning": ("",),
    "reasoning_content": ("",),
    "refusal": ("",),
    "tool_call_id": ("",),
    "tool_calls": ([],),
}


def refuse_in_messages(messages: Sequence[ChatMessage]) -> None:
    """Raises InvalidRequest for the first field of a message that asks for something not implemented."""
    for at, message in enumerate(messages):
        refuse_known(message.model_extra, _IN_MESSAGES, f"messages.{at}.")


class StreamOptions(BaseModel):
    """`include_usage` adds a last chunk with the usage."""

    model_config = ConfigDict(extra="allow")

    include_usage: StrictBool | None = None
    continuous_usage_stats: StrictBool | None = Field(default=None, description="usage so far in every chunk, too")


_IN_STREAM_OPTIONS = {"include_obfuscation": (False,)}


class JSONSchema(BaseModel):
    """A schema with the name OpenAI wants it to have. It is enforced, strict or not."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    definition: dict[str, Any] = Field(alias="schema")
    strict: StrictBool | None = None


class AnyText(BaseModel):
    """No constraint."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]


class AnyJSONObject(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["json_object"]


class JSONOfSchema(BaseModel):
    """JSON that satisfies a schema."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["json_schema"]
    json_schema: JSONSchema


ResponseFormat = Annotated[AnyText | AnyJSONObject | JSONOfSchema, Field(discriminator="type")]


class GenerationRequest(BaseModel):
    """What chat and text completions share.

    `top_k`, `min_p`, `repetition_penalty`, `min_tokens`, `ignore_eos` and `stop_token_ids` are named as in vLLM;
    `deadline` and `ragtune` are our own.
    """

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=512, description="the mode, e.g. support-lora+rag")
    n: Count | None = Field(default=None, ge=1, le=MOST_CHOICES, description="answers to each prompt")
    temperature: Number | None = Field(default=None, ge=0, le=2)
    top_p: Number | None = Field(default=None, gt=0, le=1)
    top_k: Count | None = Field(default=None, ge=-1, lt=_INT64, description="0 or -1: every token")
    min_p: Number | None = Field(default=None, ge=0, le=1)
    frequency_penalty: Number | None = Field(default=None, ge=-2, le=2)
    presence_penalty: Number | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: Number | None = Field(default=None, ge=0.01, le=10)
    logit_bias: dict[str, Annotated[Number, Field(ge=-100, le=100)]] | None = Field(
        default=None, max_length=1024, description="token id to what is added to its logit, -100 to 100"
    )
    seed: Count | None = Field(default=None, ge=-_INT64, lt=_INT64)
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    stop_token_ids: list[Count] | None = Field(default=None, max_length=64)
    min_tokens: Count | None = Field(default=None, ge=0, lt=_INT64)
    ignore_eos: StrictBool | None = None
    response_format: ResponseFormat | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    deadline: Number | None = Field(default=None, gt=0, description="seconds")
    ragtune: Grounding | None = Field(
        default=None, description="how a mode with rag finds its passages, or which they are"
    )
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=1024)
    tool_choice: Any = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    def refuse_unsupported(self) -> None:
        """Raises InvalidRequest for the first known field that asks for something not implemented."""
        extra = dict(self.model_extra or {})
        refuse_known(extra, _NEUTRAL | {"best_of": (self.choices,)})  # as many tried as returned
        if "" in ([self.stop] if isinstance(self.stop, str) else self.stop or []):
            raise InvalidRequest("a stop string is empty", param="stop")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options is only allowed with stream: true", param="stream_options")
        if self.stream_options is not None:
            refuse_known(self.stream_options.model_extra, _IN_STREAM_OPTIONS, "stream_options.")
        if self.tool_choice not in (None, "none") and (self.tools or self.tool_choice != "auto"):
            raise InvalidRequest("tools are never called; only tool_choice: none is supported", param="tool_choice")
        if self.tools and self.tool_choice != "none":
            raise InvalidRequest("tools are never called; send them with tool_choice: none, or not", param="tools")

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def running_usage(self) -> bool:
        """Whether every chunk tells the usage so far; as in vLLM, only beside `include_usage`."""
        return self.stream_options is not None and bool(
            self.include_usage and self.stream_options.continuous_usage_stats
        )

    def sampling(self, logprobs: int | None = None, *, score_prompt: bool = False) -> Sampling:
        """With OpenAI's defaults: temperature 1, top_p 1. The number of tokens is settled when the prompt is known."""
        schema_text = self._schema_text()
        if schema_text is not None:
            self._refuse_beside_a_schema()
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            temperature=_or(self.temperature, 1.0),
            top_p=_or(self.top_p, 1.0),
            top_k=max(0, self.top_k or 0),
            min_p=self.min_p or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            repetition_penalty=_or(self.repetition_penalty, 1.0),
            logit_bias=tuple({_token_id(token): bias for token, bias in (self.logit_bias or {}).items()}.items()),
            seed=self.seed,
            stop=tuple(stop),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            min_tokens=self.min_tokens or 0,
            ignore_eos=bool(self.ignore_eos),
            logprobs=logprobs,
            score_prompt=score_prompt,
            schema_text=schema_text,
        )

    def _schema_text(self) -> str | None:
        match self.response_format:
            case AnyJSONObject():
                return ANY_OBJECT
            case JSONOfSchema():
                return json.dumps(self.response_format.json_schema.definition)
            case _:
                return None

    def _refuse_beside_a_schema(self) -> None:
        for name in ("ignore_eos", "min_tokens"):
            if getattr(self, name):
                raise InvalidRequest(f"{name} contradicts response_format: JSON ends where it is complete", param=name)


class ChatRequest(GenerationRequest):
    """POST /v1/chat/completions. `max_completion_tokens` is the newer name of `max_tokens`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "support-lora+rag",
                    "messages": [{"role": "user", "content": "How long is the warranty?"}],
                    "max_completion_tokens": 64,
                    "temperature": 0,
                },
                {
                    "model": "base",
                    "messages": [{"role": "user", "content": "Name a pump and its price as JSON."}],
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {
                            "name": "pump",
                            "schema": {
                                "type": "object",
                                "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
                                "required": ["name", "price"],
                                "additionalProperties": False,
                            },
                        },
                    },
                },
            ]
        }
    )

    messages: list[ChatMessage] = Field(min_length=1, max_length=4096)
    max_tokens: Count | None = Field(default=None, ge=1, lt=_INT64)
    max_completion_tokens: Count | None = Field(default=None, ge=1, lt=_INT64)
    logprobs: StrictBool | None = None
    top_logprobs: Count | None = Field(default=None, ge=0, le=20)

    @property
    def new_tokens(self) -> int | None:
        """How many tokens to generate at most, if the client says."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens to tell beside each; None tells no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def refuse_unsupported(self) -> None:
        """Raises InvalidRequest for the first known field that asks for something not implemented."""
        super().refuse_unsupported()
        refuse_known(self.model_extra, _NOT_IN_CHAT)
        refuse_in_messages(self.messages)
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs is only allowed with logprobs: true", param="top_logprobs")


class CompletionRequest(GenerationRequest):
    """POST /v1/completions: a text, texts, token ids, or lists of token ids."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "support-lora", "prompt": "The warranty lasts", "max_tokens": 16},
                {"model": "rag", "prompt": "It lasts 26 months.", "max_tokens": 0, "echo": True, "logprobs": 1},
            ]
        }
    )

    prompt: StrictStr | list[StrictStr] | list[StrictInt] | list[list[StrictInt]] = Field(
        description="passages of a mode with rag are put before it"
    )
    query: str | None = Field(default=None, description="what to search passages for; absent: the prompt")
    max_tokens: Count | None = Field(default=None, ge=0, lt=_INT64, description="absent: 16")
    echo: StrictBool | None = None
    logprobs: Count | None = Field(default=None, ge=0, le=20)

    def refuse_unsupported(self) -> None:
        """Raises InvalidRequest for the first known field that asks for something not implemented."""
        super().refuse_unsupported()
        refuse_known(self.model_extra, _NOT_IN_TEXT | {"max_completion_tokens": (self.max_tokens,)})

    def prompts(self) -> list[str] | list[list[int]]:
        """Always a list of prompts. Raises InvalidRequest for an empty one."""
        prompts: list[Any] = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if prompts and isinstance(prompts[0], int):
            prompts = [prompts]
        if not prompts or any(len(prompt) == 0 for prompt in prompts):
            raise InvalidRequest("the prompt is empty", param="prompt")
        return prompts


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _token_id(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise InvalidRequest(f"logit_bias: {text[:40]!r} is not a token id", param="logit_bias")
    return int(text)
