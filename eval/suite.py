"""A suite: which arms are asked which examples, and how answers are scored. A short TOML file.

name = "handbook"

[[tasks]]
name = "knowledge"
examples = "heldout.jsonl"            # relative to the suite
metrics = ["containment", "token_f1", "exact_match"]
max_tokens = 24

[[arms]]
mode = "rag"

[[comparisons]]
task = "knowledge"
metric = "containment"
arm = "rag"
over = "base"
margin = 20                            # points the lower bound of the difference should exceed
"""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from eval.metrics import METRICS
from ragtune.errors import InvalidRequest, RefusedArtifact
from ragtune.examples import Example, read_examples
from ragtune.mode import Mode


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(_Section):
    """Examples that are scored alike. The first metric is the one shown first."""

    name: str
    examples: Path
    metrics: tuple[str, ...] = Field(min_length=1)
    max_tokens: int = Field(default=64, ge=1)
    limit: int | None = Field(default=None, ge=1, description="only the first so many of each slice")

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            if metric not in METRICS:
                raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
        return metrics

    def read(self) -> list[Example]:
        """The examples asked. Raises RefusedArtifact if they cannot be read."""
        examples = read_examples(self.examples)
        seen: dict[str, int] = {}
        kept = []
        for example in examples:
            seen[example.slice] = seen.get(example.slice, 0) + 1
            if self.limit is None or seen[example.slice] <= self.limit:
                kept.append(example)
        return kept


class Arm(_Section):
    """One mode that is asked everything, or only the tasks named."""

    mode: str
    tasks: tuple[str, ...] | None = None

    @field_validator("mode")
    @classmethod
    def _syntax(cls, mode: str) -> str:
        try:
            Mode.parse(mode)
        except InvalidRequest as error:
            raise ValueError(error.message) from error
        return mode


class Comparison(_Section):
    """A difference of interest, on the same items; `margin` in points (hundredths)."""

    task: str
    metric: str
    arm: str
    over: str
    margin: float = 0.0


class Suite(_Section):
    """The whole plan."""

    name: str
    tasks: tuple[Task, ...] = Field(min_length=1)
    arms: tuple[Arm, ...] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()
    concurrency: int = Field(default=32, ge=1, le=256)
    timeout: float = Field(default=120, gt=0, description="seconds an item may take")

    @model_validator(mode="after")
    def _names_exist(self) -> "Suite":
        tasks, modes = [task.name for task in self.tasks], [arm.mode for arm in self.arms]
        for names, what in ((tasks, "task"), (modes, "arm")):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"two {what}s are called {sorted(twice)[0]!r}")
        for name in [task for arm in self.arms for task in arm.tasks or ()] + [c.task for c in self.comparisons]:
            if name not in tasks:
                raise ValueError(f"there is no task {name!r}; there is {', '.join(tasks)}")
        for name in [mode for c in self.comparisons for mode in (c.arm, c.over)]:
            if name not in modes:
                raise ValueError(f"a comparison names {name!r}, which is no arm; arms: {', '.join(modes)}")
        return self

    def asked(self, arm: Arm) -> list[Task]:
        """The tasks an arm is asked."""
        return [task for task in self.tasks if arm.tasks is None or task.name in arm.tasks]


def read_suite(path: Path) -> Suite:
    """The suite in `path`, its example files made absolute. Raises RefusedArtifact naming the field at fault."""
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
        suite = Suite.model_validate(written)
    except OSError as error:
        raise RefusedArtifact(f"cannot read suite {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedArtifact(f"suite {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "suite"
        raise RefusedArtifact(f"suite {path}: {field}: {first['msg']}") from error
    folder = path.parent.resolve()
    tasks = tuple(task.model_copy(update={"examples": folder / task.examples}) for task in suite.tasks)
    return suite.model_copy(update={"tasks": tasks})
