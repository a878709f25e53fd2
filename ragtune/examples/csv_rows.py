"""Examples as CSV: a header, then a row an example. The delimiter is a comma, a semicolon or a tab.

Columns that are not named are found by their usual names, in any case; white space around a cell is dropped.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from pydantic import ValidationError

from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.examples.example import Example
from ragtune.examples.text_file import TextFile

_USUAL = {
    "query": ("query", "question", "text", "prompt", "input"),
    "answer": ("answer", "answers", "label", "category", "output", "response", "completion"),
    "id": ("id",),
    "task": ("task",),
}
_NEEDED = ("query", "answer")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Columns:
    """The names of the columns that hold what; None is found by its usual names."""

    query: str | None = None
    answer: str | None = None
    id: str | None = None
    task: str | None = None


@dataclass(frozen=True)
class Header:
    """The first row, and at which place in a row each part of an example stands."""

    names: tuple[str, ...]
    at: dict[str, int]
    delimiter: str

    @property
    def told(self) -> str:
        """What is read from which column, and what from none."""
        used = ", ".join(f"{part} from {self.names[at]!r}" for part, at in self.at.items())
        unused = [repr(name) for at, name in enumerate(self.names) if at not in self.at.values()]
        return f"{used}; not used: {', '.join(unused)}" if unused else used


def read_header(file: TextFile, columns: Columns) -> Header:
    """The columns of a CSV file. Raises RefusedArtifact if one is missing or there are several for the same."""
    first = {one: next((row for _, row in _rows(file, one, strict=False)), []) for one in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda one: len(first[one]))  # the comma, if all give a single column
    names = tuple(name.strip() for name in first[delimiter])
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise file.refused("line 1", f"{names.count(twice[0])} columns are called {twice[0]!r}")
    at: dict[str, int] = {}
    for part in fields(columns):
        place = _column(part.name, getattr(columns, part.name), names, file)
        if place is not None:
            at[part.name] = place
    if at["query"] == at["answer"]:
        raise file.refused("line 1", f"column {names[at['query']]!r} cannot be both query and answer")
    return Header(names, at, delimiter)


def read_rows(file: TextFile, header: Header) -> Iterator[tuple[str, Example]]:
    """Every row with the line it begins on. Raises RefusedArtifact with the line of the first bad row.

    Without a column for it, an id is the file's name and the line.
    """
    rows = _rows(file, header.delimiter)
    next(rows)
    for line, row in rows:
        if len(row) != len(header.names):
            raise file.refused(
                f"line {line}",
                f"{len(row)} cells under {len(header.names)} columns; put cells that hold the delimiter in quotes",
            )
        cells = {part: row[at].strip() for part, at in header.at.items()}
        answer = cells.pop("answer")
        try:
            example = Example.model_validate({"id": f"{file.path.name}:{line}", **cells, "answers": (answer,)})
        except ValidationError as error:
            raise file.refused(f"line {line}", _problem(error, header)) from error
        yield f"line {line}", example


def _rows(file: TextFile, delimiter: str, *, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line it begins on; a quoted cell may run over several."""
    reader = csv.reader(_physical(file.text), delimiter=delimiter, strict=strict)
    begins = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise file.refused(f"line {begins}", f"no CSV: {error}; is a quote missing?") from error


def _physical(text: str) -> list[str]:
    """The lines with their ends, which belong to a cell that runs over them; only a line feed ends one."""
    return [line + "\n" for line in text.removesuffix("\n").split("\n")]


def _column(part: str, named: str | None, names: Sequence[str], file: TextFile) -> int | None:
    if named is not None:
        if named not in names:
            raise file.refused("line 1", UnknownName.among("column", named, names).message)
        return names.index(named)
    found = [name for name in names if name.lower() in _USUAL[part]]
    if len(found) == 1:
        return names.index(found[0])
    if part not in _NEEDED and not found:
        return None
    raise _undecided(part, found, names, file)


def _undecided(part: str, found: Sequence[str], names: Sequence[str], file: TextFile) -> RefusedArtifact:
    there = ", ".join(map(repr, names)) or "none"
    why = f"{' and '.join(map(repr, found))} could each be the {part}" if found else f"no column looks like the {part}"
    advice = f"name it as `{part}` of csv in the recipe or suite"
    if not found:
        advice += f", or call it {' or '.join(map(repr, _USUAL[part]))}"
    return file.refused("line 1", f"{why}; {advice}. The columns are {there}")


def _problem(error: ValidationError, header: Header) -> str:
    first = error.errors()[0]
    part = "answer" if first["loc"][0] == "answers" else str(first["loc"][0])
    return f"{part} (column {header.names[header.at[part]]!r}): {first['msg'].removeprefix('Value error, ')}"
