"""A task: examples that are scored alike, and whether its metrics can be had of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from eval.metrics import METRICS
from eval.section import Section
from ragtune.errors import UnknownName
from ragtune.examples import Columns, Example, Format, read_example_file


class Csv(Section):
    """Which columns of a CSV file hold what; what is not named is found by its usual names."""

    query: str | None = None
    answer: str | None = None
    id: str | None = None
    task: str | None = None

    @property
    def columns(self) -> Columns:
        """As the reader of such files takes them."""
        return Columns(self.query, self.answer, self.id, self.task)


class Task(Section):
    """Examples that are scored alike."""

    name: str = Field(min_length=1)
    examples: Path
    format: Literal[Format, "auto"] = Field(default="auto", description="absent: told by what the file holds")
    csv: Csv = Csv()
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
        """All its examples, also those beyond the limit. Raises RefusedArtifact if they cannot be read."""
        return list(read_example_file(self.examples, self.format, self.csv.columns, unanswered=True).examples)


def first_of_each_slice(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` examples of each slice, in order."""
    seen: Counter[str] = Counter()
    kept = []
    for example in examples:
        seen[example.slice] += 1
        if limit is None or seen[example.slice] <= limit:
            kept.append(example)
    return kept
