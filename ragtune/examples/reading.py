"""Files of examples in any of the formats, told apart by their ending and by what they hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic_core import from_json

from ragtune.errors import RefusedArtifact
from ragtune.examples.beir import read_beir
from ragtune.examples.csv_rows import Columns, read_header, read_rows
from ragtune.examples.example import Example
from ragtune.examples.lines import read_lines
from ragtune.examples.messages import read_messages
from ragtune.examples.squad import read_squad
from ragtune.examples.text_file import TextFile

Format = Literal["examples", "messages", "squad", "csv", "beir"]
FORMATS: tuple[Format, ...] = get_args(Format)
_TABLES = (".csv", ".tsv")
_LINES = (".jsonl", ".ndjson")
_NOT_THERE = "Not in the documents."
_ANY = Columns()


@dataclass(frozen=True)
class ExampleFile:
    """What a file held; `told` says how it was read, where that was not plain."""

    path: Path
    format: Format
    examples: tuple[Example, ...]
    told: str = ""


def read_examples(path: Path, format: Format | Literal["auto"] = "auto") -> list[Example]:  # noqa: A002  as in recipes
    """All examples of a file. Raises RefusedArtifact with the place of the first bad one, or one without an answer."""
    return list(read_example_file(path, format).examples)


def read_example_file(
    path: Path,
    format: Format | Literal["auto"] = "auto",  # noqa: A002  as recipes call it
    columns: Columns = _ANY,
    unanswerable: str = _NOT_THERE,
    *,
    unanswered: bool = False,
) -> ExampleFile:
    """All examples of a file: `columns` are those of a CSV, `unanswerable` answers what SQuAD calls impossible.

    BEIR's are a folder, or one of its files of judgements. Raises RefusedArtifact with the place of the first bad
    example, for an id that occurs twice, if there is none, and, unless `unanswered` are taken, for one without answers.
    """
    read = _read_beir(path) if format == "beir" or path.is_dir() else _read_file(path, format, columns, unanswerable)
    if not unanswered and (bare := next((example for example in read.examples if not example.answers), None)):
        raise RefusedArtifact(f"{path}: example {bare.id!r} has no answer; such are for measuring retrieval alone")
    return read


def _read_beir(path: Path) -> ExampleFile:
    found = read_beir(path)
    return ExampleFile(path, "beir", tuple(found.examples), f"judgements from {found.judgements.name}")


def _read_file(path: Path, format: Format | Literal["auto"], columns: Columns, unanswerable: str) -> ExampleFile:  # noqa: A002
    file = TextFile.read(path)
    if not file.text.strip():
        raise RefusedArtifact(f"{path} holds no examples")
    found = _format(file) if format == "auto" else format
    told = ""
    if found == "csv":
        header = read_header(file, columns)
        told, placed = header.told, read_rows(file, header)
    else:
        placed = _placed(file, found, unanswerable)
    examples = tuple(_distinct(file, placed))
    if not examples:
        raise RefusedArtifact(f"{path} holds no examples")
    return ExampleFile(path, found, examples, told)


def _placed(file: TextFile, format: Format, unanswerable: str) -> Iterator[tuple[str, Example]]:  # noqa: A002
    if format == "squad":
        return read_squad(file, unanswerable)
    return read_messages(file) if format == "messages" else read_lines(file)


def _distinct(file: TextFile, placed: Iterator[tuple[str, Example]]) -> Iterator[Example]:
    seen: dict[str, str] = {}
    for place, example in placed:
        if example.id in seen:
            raise file.refused(place, f"the id {example.id!r} is that of {seen[example.id]}, too")
        seen[example.id] = place
        yield example


def _format(file: TextFile) -> Format:
    if file.path.suffix.lower() in _TABLES:
        return "csv"
    _, first = next(file.lines())
    try:
        record = from_json(first)
    except ValueError:
        record = None
    if isinstance(record, dict):
        return "squad" if "data" in record else "messages" if "messages" in record else "examples"
    if file.path.suffix.lower() in _LINES:
        return "examples"  # whose reader says what is wrong with the line
    if first.lstrip().startswith("{"):
        return "squad"  # JSON over several lines
    raise RefusedArtifact(f"cannot tell the format of {file.path}; say which it is: {', '.join(FORMATS)}")
