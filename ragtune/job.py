"""A job: long work on one resource, as it is kept, shown and told of.

    queued -> running -> succeeded | failed | cancelled        a queued one may also fail, or be cancelled

States only go forward. The same classes are written by the process at work and read by the service and the commands.
"""

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ragtune.errors import Interrupted, by_code
from ragtune.keys import ScopeName

Kind = Literal["index build", "index delete", "training", "evaluation"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
ACTIVE: tuple[State, ...] = ("queued", "running")
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
SCOPES: dict[Kind, ScopeName] = {
    "index build": "index:write",
    "index delete": "index:write",
    "training": "train",
    "evaluation": "eval",
}
"""What a key needs to start or cancel a job of each kind."""

Spec = dict[str, JsonValue]
_PER_SECOND = "_per_second"


class Progress(BaseModel):
    """How far a job is, in the stage it is in."""

    model_config = ConfigDict(frozen=True)

    stage: str
    done: int
    total: int | None = Field(description="null: not known yet")
    unit: str
    percent: float | None = Field(description="of this stage")
    rate: float | None = Field(description="units a second over the last ten seconds")
    eta_seconds: float | None = Field(description="to the end of this stage, at that rate")
    figures: dict[str, float] = Field(
        default={}, description="what else is known by now: a training's `loss` (nats a token), `tokens_per_second`"
    )

    def __str__(self) -> str:
        """In words, as in `training 51 of 204 steps (25 %), 1.2 steps/s, 128 s left, loss 1.31, 640 tokens/s`."""
        amount = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        share = "" if self.percent is None else f" ({self.percent:.0f} %)"
        rate = "" if self.rate is None else f", {self.rate:.1f} {self.unit}/s"
        left = "" if self.eta_seconds is None else f", {self.eta_seconds:.0f} s left"
        figures = "".join(f", {figure}" for figure in in_words(self.figures))
        return f"{self.stage} {amount} {self.unit}{share}{rate}{left}{figures}"


def in_words(figures: Mapping[str, float]) -> list[str]:
    """As in `loss 1.31` and `640 tokens/s`."""
    return [_figure(name, value) for name, value in figures.items()]


def _figure(name: str, value: float) -> str:
    if name.endswith(_PER_SECOND):
        return f"{value:,.0f} {name.removesuffix(_PER_SECOND)}/s"
    return f"{name.replace('_', ' ')} {value:.3g}"


class Failure(BaseModel):
    """Why a job failed: a code of the error tree, and what it means."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str


class Job(BaseModel):
    """One job as it is now. Times are UTC; null is not yet, or not at all."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "job-4f2a91c07d",
                    "kind": "index build",
                    "resource": "index:handbook",
                    "state": "running",
                    "spec": {"path": "/data/handbook"},
                    "author": "ci",
                    "tenant": "",
                    "created": "2026-07-01T12:00:00.000+00:00",
                    "started": "2026-07-01T12:00:00.412+00:00",
                    "finished": None,
                    "progress": {
                        "stage": "embedding",
                        "done": 512,
                        "total": 2048,
                        "unit": "passages",
                        "percent": 25.0,
                        "rate": 44.8,
                        "eta_seconds": 34.3,
                        "figures": {},
                    },
                    "result": None,
                    "error": None,
                    "cancel_requested": None,
                    "resumes": None,
                }
            ]
        },
    )

    id: str
    kind: Kind
    resource: str = Field(description="what it works on; one job at a time does")
    state: State
    spec: Spec = Field(description="what it was asked to do")
    author: str = Field(description="who asked: a key's name, `local` over HTTP without keys, an account for a command")
    tenant: str = Field(description="of the key that asked; empty for none")
    created: str
    started: str | None = None
    finished: str | None = None
    progress: Progress | None = None
    result: Spec | None = Field(default=None, description="what it made, if it succeeded")
    error: Failure | None = Field(default=None, description="why it failed, if it did")
    cancel_requested: str | None = Field(default=None, description="since when it is to stop")
    resumes: str | None = Field(default=None, description="the job whose work it goes on with")

    @property
    def ended(self) -> bool:
        """Whether it is in its last state."""
        return self.state in ENDED

    def check(self) -> None:
        """For whoever waited for its end: raises the error it failed with, and Interrupted if it was cancelled."""
        if self.error is not None:
            raise by_code(self.error.code, self.error.message)
        if self.state == "cancelled":
            raise Interrupted(f"the {self.kind} {self.id} was cancelled; start it again")


class StateChange(BaseModel):
    """What an event of the type `state` says."""

    model_config = ConfigDict(frozen=True)

    state: State
    result: Spec | None = None
    error: Failure | None = None


class JobEvent(BaseModel):
    """Something that happened to a job; `seq` counts up from 1."""

    model_config = ConfigDict(frozen=True)

    seq: int
    time: str
    type: Literal["progress", "state"]
    data: Progress | StateChange
