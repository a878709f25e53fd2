"""An arm: whom to ask, and with what before the question."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from eval.section import Section
from ragtune.errors import InvalidRequest
from ragtune.mode import Mode

Context = Literal["none", "retrieved", "gold", "gold+distractors", "wrong"]
GIVEN: frozenset[Context] = frozenset({"gold", "gold+distractors", "wrong"})
"""Contexts whose passages the evaluator brings itself."""
_OF_ENDPOINTS = ("model", "api_key_env", "price_in", "price_out")


class Arm(Section):
    """One mode that is asked everything, or only the tasks named, or of a task only the first items of each slice.

    `context` replaces what a mode with rag retrieves, as a control; `none` asks the mode without its rag part, and
    leaves out the example's own context, too. `instruction` stands after every question, in a paragraph of its own, as
    a control of format; where passages are searched, it is part of what they are searched by. `top_k` is how many
    passages are retrieved at most; without it as many as the service is set to. An outside arm has
    `endpoint` (the base URL of an OpenAI-compatible API, up to /v1) and `model` instead of `mode`; `api_key_env` names
    the environment variable that holds its key.
    """

    mode: str | None = None
    endpoint: str | None = None
    model: str | None = Field(default=None, min_length=1)
    api_key_env: str | None = Field(default=None, min_length=1)
    price_in: float | None = Field(default=None, ge=0, description="of a million prompt tokens")
    price_out: float | None = Field(default=None, ge=0, description="of a million new tokens")
    context: Context = "retrieved"
    instruction: str = ""
    top_k: int | None = Field(default=None, ge=1, le=100)
    label: str | None = Field(default=None, min_length=1)
    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)
    limits: dict[str, Annotated[int, Field(ge=1)]] = Field(default={}, description="by task, below the task's own")

    @field_validator("mode")
    @classmethod
    def _syntax(cls, mode: str | None) -> str | None:
        try:
            Mode.parse(mode or "base")
        except InvalidRequest as error:
            raise ValueError(error.message) from error
        return mode

    @field_validator("endpoint")
    @classmethod
    def _url(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and (
            urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc
        ):
            raise ValueError(f"{endpoint!r} is no URL; give one like https://api.example.com/v1")
        return endpoint

    @model_validator(mode="after")
    def _one_of_two(self) -> "Arm":
        if (self.mode is None) == (self.endpoint is None):
            raise ValueError("give an arm either a mode, or an endpoint and a model")
        if self.outside and self.model is None:
            raise ValueError("an arm with an endpoint needs the model to ask there")
        if not self.outside and (given := [name for name in _OF_ENDPOINTS if getattr(self, name) is not None]):
            raise ValueError(f"{given[0]} belongs to an arm with an endpoint, and this one has a mode")
        self._check_context()
        if self.top_k is not None and (self.outside or self.context != "retrieved"):
            raise ValueError("top_k is for an arm that retrieves: a mode with rag, without a context of its own")
        return self

    @property
    def is_control(self) -> bool:
        """Whether it is given or told what nobody gives at serving time."""
        return self.context != "retrieved" or bool(self.instruction)

    def _check_context(self) -> None:
        """An adapter's name may be an alias of a whole mode, which only the service knows: it is told at the start."""
        if self.context == "retrieved":
            return
        if self.outside:
            raise ValueError(f"context = {self.context!r} is for modes with rag; an endpoint retrieves nothing")
        mode = Mode.parse(self.asked_mode)
        if self.context in GIVEN and not mode.rag and not mode.adapters:
            raise ValueError(f"context = {self.context!r} needs a mode with rag, and {self.mode!r} has none")

    @property
    def outside(self) -> bool:
        """Whether another server than the service under evaluation is asked."""
        return self.endpoint is not None

    @property
    def name(self) -> str:
        """What reports and comparisons call it."""
        return self.label or self.mode or self.model or "?"

    @property
    def asked_mode(self) -> str:
        """The mode of an arm of the service."""
        assert self.mode is not None
        return self.mode
