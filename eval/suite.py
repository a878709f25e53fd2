"""A suite: which arms are asked which examples, and how answers are scored. A short TOML file.

name = "handbook"

[[tasks]]
name = "knowledge"
examples = "heldout.jsonl"            # relative to the suite
metrics = ["containment", "token_f1", "exact_match"]
primary = "containment"               # the one shown first; by default the first
max_tokens = 24

[[arms]]
mode = "rag"
label = "retrieval"                   # what reports and comparisons call it; by default the mode
limits = { knowledge = 30 }           # ask this arm only so many of a task; pairs are formed from what both were asked

[[comparisons]]
task = "knowledge"
metric = "containment"
arm = "retrieval"
over = "base"
margin = 20                           # points the lower bound of the difference should exceed
"""

import tomllib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from eval.metrics import METRICS
from ragtune.errors import InvalidRequest, RefusedArtifact, UnknownName
from ragtune.examples import Example, read_examples
from ragtune.mode import Mode

Context = Literal["none", "retrieved", "gold", "gold+distractors", "wrong"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(_Section):
    """Examples that are scored alike."""

    name: str
    examples: Path
    metrics: tuple[str, ...] = Field(min_length=1)
    primary: str | None = Field(default=None, description="the metric shown first; absent: the first one")
    max_tokens: int = Field(default=64, ge=1)
    limit: int | None = Field(default=None, ge=1, description="only the first so many of each slice")

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            if metric not in METRICS:
                raise ValueError(UnknownName.among("metric", metric, METRICS).message)
        return metrics

    @model_validator(mode="after")
    def _primary_is_scored(self) -> "Task":
        if self.headline not in self.metrics:
            raise ValueError(f"the primary metric {self.headline!r} is not among the task's metrics")
        return self

    @property
    def headline(self) -> str:
        """The metric shown first."""
        return self.primary or self.metrics[0]

    def read(self) -> list[Example]:
        """The examples asked. Raises RefusedArtifact if they cannot be read, or have a history, which is not sent."""
        examples = first_of_each_slice(read_examples(self.examples), self.limit)
        if told := [example.id for example in examples if example.history]:
            raise RefusedArtifact(
                f"{self.examples}: example {told[0]!r} has a history; only single questions are asked"
            )
        return examples


class Arm(_Section):
    """One mode that is asked everything, or only the tasks named, or of a task only the first items of each slice.

    `context` replaces what a mode with rag retrieves, as a control. `instruction` stands after every question, in a
    paragraph of its own, as a control of format. An outside arm has `endpoint` (the base URL of an OpenAI-compatible
    API, up to /v1) and `model` instead of `mode`; `api_key_env` names the environment variable that holds its key.
    """

    mode: str | None = None
    endpoint: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    price_in: float | None = Field(default=None, ge=0, description="of a million prompt tokens")
    price_out: float | None = Field(default=None, ge=0, description="of a million new tokens")
    context: Context = "retrieved"
    instruction: str = ""
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

    @property
    def name(self) -> str:
        """What reports and comparisons call it."""
        return self.label or self.mode or self.model or "?"

    @property
    def asked_mode(self) -> str:
        """The mode of an arm of the service."""
        assert self.mode is not None
        return self.mode


class Comparison(_Section):
    """A difference of interest, on the same items; `margin` in points (hundredths)."""

    task: str
    metric: str
    arm: str
    over: str
    margin: float = 0.0


class Budget(_Section):
    """What an arm may cost to be considered; what is absent is not limited. Prices in one currency, whichever."""

    p95_ms: float | None = Field(default=None, gt=0, description="to the whole answer, alone")
    first_token_ms: float | None = Field(default=None, gt=0, description="p95, alone")
    price_per_1000: float | None = Field(default=None, ge=0, description="of 1,000 queries, training not included")
    training_seconds: float | None = Field(default=None, ge=0)
    training_memory: int | None = Field(default=None, ge=0, description="bytes, the peak of a training")
    artifact_bytes: int | None = Field(default=None, ge=0)
    queries: int | None = Field(default=None, ge=1, description="queries a month, over which training is paid back")
    updates: float | None = Field(default=None, ge=0, description="times a month that the knowledge changes")


class Gate(_Section):
    """A bar that `--gate` holds an arm to: the lower bound of its interval on a task, or a slice of it, in points."""

    arm: str
    task: str
    metric: str | None = Field(default=None, description="absent: the task's primary metric")
    slice: str | None = None
    least: float


class Judge(_Section):
    """A language model that scores answers, at any OpenAI-compatible endpoint, or a mode of the service itself."""

    model: str
    endpoint: str | None = Field(default=None, description="absent: the service under evaluation")
    api_key_env: str | None = None
    prompt: str | None = Field(default=None, description="with {question}, {answers} and {answer}; absent: our own")


class Suite(_Section):
    """The whole plan.

    `seeds` are the repeats: every example is asked once with each. `tolerance`, in points, is how far an arm may be
    behind the best and still be good enough. `trained_on` are files that adapters learned from: an example that stands
    in them is a leak. `hourly_rate` is what an hour of the machine costs.
    """

    name: str = Field(min_length=1)
    tasks: tuple[Task, ...] = Field(min_length=1)
    arms: tuple[Arm, ...] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()
    gates: tuple[Gate, ...] = ()
    budget: Budget = Budget()
    judge: Judge | None = None
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    tolerance: float = Field(default=2.0, ge=0)
    trained_on: tuple[Path, ...] = ()
    hourly_rate: float | None = Field(default=None, ge=0)
    concurrency: int = Field(default=32, ge=1, le=256, description="requests at once")
    alone: int = Field(default=8, ge=0, description="questions of each arm whose first token is timed, one at a time")
    timeout: float = Field(default=120, gt=0, description="seconds one request may take")

    @model_validator(mode="after")
    def _names_exist(self) -> "Suite":
        tasks = {task.name: task for task in self.tasks}
        arms = {arm.name: arm for arm in self.arms}
        _all_different("tasks", [task.name for task in self.tasks])
        _all_different("arms", [arm.name for arm in self.arms])
        for arm in self.arms:
            for name in (*(arm.tasks or ()), *arm.limits):
                _check("task", name, tasks)
        for comparison in self.comparisons:
            _check("task", comparison.task, tasks)
            _check("metric of the task", comparison.metric, tasks[comparison.task].metrics)
            for name in (comparison.arm, comparison.over):
                _check("arm", name, arms)
                if tasks[comparison.task] not in self.asked(arms[name]):
                    raise ValueError(f"a comparison is on {comparison.task!r}, which arm {name!r} is not asked")
        return self

    def asked(self, arm: Arm) -> list[Task]:
        """The tasks an arm is asked."""
        return [task for task in self.tasks if arm.tasks is None or task.name in arm.tasks]


def first_of_each_slice(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` examples of each slice, in order."""
    seen: Counter[str] = Counter()
    kept = []
    for example in examples:
        seen[example.slice] += 1
        if limit is None or seen[example.slice] <= limit:
            kept.append(example)
    return kept


def read_suite(path: Path) -> Suite:
    """The suite in `path`, its example files made absolute. Raises RefusedArtifact naming the field at fault."""
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RefusedArtifact(f"cannot read suite {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedArtifact(f"suite {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise RefusedArtifact(f"suite {path}: {_problem(error)}") from error
    folder = path.parent.resolve()
    tasks = tuple(task.model_copy(update={"examples": folder / task.examples}) for task in suite.tasks)
    return suite.model_copy(update={"tasks": tasks})


def _check(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(UnknownName.among(kind, name, known).message)


def _all_different(kind: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {kind} are called {name!r}")


_SECTIONS: dict[str, type[_Section]] = {"tasks": Task, "arms": Arm, "comparisons": Comparison}


def _problem(error: ValidationError) -> str:
    """The first problem with its place: `tasks, number 1, metrix: unknown field 'metrix'; did you mean 'metrics'?`.

    A misspelt field goes before the one that is missing because of it.
    """
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    place = ", ".join(f"number {part + 1}" if isinstance(part, int) else part for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section = _SECTIONS.get(str(first["loc"][0]), Suite) if len(first["loc"]) > 1 else Suite
        message = UnknownName.among("field", str(first["loc"][-1]), section.model_fields).message
    else:
        message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
