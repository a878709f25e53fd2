"""Examples: labelled records for training and evaluation, one JSON object a line.

{"id": "k-17", "task": "knowledge", "query": "...", "answers": ["26 months"], "gold_documents": ["manuals/a.md"]}
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragtune.errors import RefusedArtifact


class Example(BaseModel):
    """One labelled record. Any of `answers` counts as right; `slice` names a part that is reported apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    query: str = Field(min_length=1)
    answers: tuple[str, ...] = Field(min_length=1)
    task: str = "default"
    gold_documents: tuple[str, ...] = ()
    slice: str = ""


def read_examples(path: Path) -> list[Example]:
    """All examples of a JSONL file. Raises RefusedArtifact with the line number of the first bad line."""
    examples = list(_lines(path))
    if not examples:
        raise RefusedArtifact(f"{path} holds no examples")
    seen: dict[str, int] = {}
    for number, example in enumerate(examples, start=1):
        if example.id in seen:
            raise RefusedArtifact(f"{path}: records {seen[example.id]} and {number} share the id {example.id!r}")
        seen[example.id] = number
    return examples


def _lines(path: Path) -> Iterator[Example]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse(line, path, number)
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedArtifact(f"cannot read examples {path}: {error}") from error


def _parse(line: str, path: Path, number: int) -> Example:
    try:
        return Example.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "line"
        raise RefusedArtifact(f"{path}, line {number}: {field}: {first['msg']}") from error
