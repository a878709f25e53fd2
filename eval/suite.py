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

[[arms]]
endpoint = "https://api.example.com/v1"
model = "large"
api_key_env = "EXAMPLE_API_KEY"       # where its key is; what it costs is stated, not asked
price_in = 0.15
price_out = 0.60

[[comparisons]]
task = "knowledge"
metric = "containment"
arm = "retrieval"
over = "base"
margin = 20                           # points the lower bound of the difference should exceed

[[gates]]
arm = "retrieval"
task = "knowledge"
least = 60                            # points that the lower bound of the interval must reach with --gate

[budget]
p95_ms = 2000
"""

import tomllib
from collections.abc import Collection
from pathlib import Path

from pydantic import Field, ValidationError, field_validator, model_validator

from eval.arm import Arm, Context
from eval.section import Section
from eval.task import Csv, Task
from ragtune.errors import RefusedArtifact, UnknownName

__all__ = ["Arm", "Budget", "Comparison", "Context", "Gate", "Judge", "Suite", "Task", "read_suite"]


class Comparison(Section):
    """A difference of interest, on the same items; `margin` in points (hundredths)."""

    task: str
    metric: str
    arm: str
    over: str
    margin: float = 0.0


class Budget(Section):
    """What an arm may cost to be considered; what is absent is not limited. Prices in one currency, whichever."""

    p95_ms: float | None = Field(default=None, gt=0, description="to the whole answer, alone")
    first_token_ms: float | None = Field(default=None, gt=0, description="p95, alone")
    price_per_1000: float | None = Field(default=None, ge=0, description="of 1,000 queries, training not included")
    training_seconds: float | None = Field(default=None, ge=0)
    training_memory: int | None = Field(default=None, ge=0, description="bytes, the peak of a training")
    artifact_bytes: int | None = Field(default=None, ge=0)
    queries: int | None = Field(default=None, ge=1, description="queries a month, over which training is paid back")
    updates: float | None = Field(default=None, ge=0, description="times a month that the knowledge changes")


class Gate(Section):
    """A bar that `--gate` holds an arm to: the lower bound of its interval on a task, or a slice of it, in points."""

    arm: str
    task: str
    metric: str | None = Field(default=None, description="absent: the task's primary metric")
    slice: str | None = None
    least: float


class Judge(Section):
    """A language model that scores answers, at any OpenAI-compatible endpoint, or a mode of the service itself."""

    model: str
    endpoint: str | None = Field(default=None, description="absent: the service under evaluation")
    api_key_env: str | None = None
    prompt: str | None = Field(default=None, description="with {question}, {answers} and {answer}; absent: our own")

    @field_validator("prompt")
    @classmethod
    def _shows_the_answer(cls, prompt: str | None) -> str | None:
        if prompt is not None and "{answer}" not in prompt:
            raise ValueError("a judge sees nothing of an answer without {answer} in the prompt")
        return prompt


class Suite(Section):
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
    alone: int = Field(
        default=8,
        ge=0,
        description="questions of each arm that are timed one at a time",
    )
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
                self._check_asked("comparison", comparison.task, arms[name])
        for gate in self.gates:
            _check("task", gate.task, tasks)
            _check("arm", gate.arm, arms)
            self._check_asked("gate", gate.task, arms[gate.arm])
            if gate.metric is not None:
                _check("metric of the task", gate.metric, tasks[gate.task].metrics)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: two repeats have the same seed, and would be one")
        if len(self.seeds) > 1 and self.temperature == 0:
            raise ValueError(
                "seeds: at temperature 0 every repeat gives the same answer; give one seed, or a temperature above 0"
            )
        if self.judge is None and (judged := [task.name for task in self.tasks if "judge" in task.metrics]):
            raise ValueError(f"task {judged[0]!r} has the metric 'judge', and there is no [judge]")
        return self

    @model_validator(mode="after")
    def _volumes_have_a_price(self) -> "Suite":
        """What would be ignored otherwise."""
        if self.budget.updates is not None and self.budget.queries is None:
            raise ValueError("budget: updates needs queries, how many a month there are to share what an update takes")
        own = [arm.name for arm in self.arms if not arm.outside]
        if self.budget.queries is not None and self.hourly_rate is None and own:
            raise ValueError(
                f"budget: queries needs hourly_rate, the price of an hour of the machine, as arm {own[0]!r} takes its "
                "time; give it, or leave out queries"
            )
        return self

    def _check_asked(self, what: str, task: str, arm: Arm) -> None:
        if task not in {one.name for one in self.asked(arm)}:
            raise ValueError(f"a {what} is on {task!r}, which arm {arm.name!r} is not asked")

    def asked(self, arm: Arm) -> list[Task]:
        """The tasks an arm is asked."""
        return [task for task in self.tasks if arm.tasks is None or task.name in arm.tasks]


def read_suite(path: Path) -> Suite:
    """The suite in `path`, its files made absolute. Raises RefusedArtifact naming the field at fault."""
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
    trained_on = tuple(folder / file for file in suite.trained_on)
    return suite.model_copy(update={"tasks": tasks, "trained_on": trained_on})


def parse_suite(fields: object) -> Suite:
    """The suite that `fields` describe as a TOML file would, its paths as they are. Raises RefusedArtifact, whose
    `param` is the field at fault."""
    try:
        return Suite.model_validate(fields)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise RefusedArtifact(_problem(error), param=".".join(map(str, first["loc"])) or None) from error


def _check(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(UnknownName.among(kind, name, known).message)


def _all_different(kind: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {kind} are called {name!r}")


_SECTIONS: dict[int | str, type[Section]] = {
    "tasks": Task,
    "csv": Csv,
    "arms": Arm,
    "comparisons": Comparison,
    "gates": Gate,
    "budget": Budget,
    "judge": Judge,
}


def _problem(error: ValidationError) -> str:
    """The first problem with its place: `tasks, number 1, metrix: unknown field 'metrix'; did you mean 'metrics'?`.

    A misspelt field goes before the one that is missing because of it.
    """
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    place = ", ".join(f"number {part + 1}" if isinstance(part, int) else part for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section = next((_SECTIONS[part] for part in reversed(first["loc"][:-1]) if part in _SECTIONS), Suite)
        message = UnknownName.among("field", str(first["loc"][-1]), section.model_fields).message
    else:
        message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
