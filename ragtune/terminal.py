"""What people see in a terminal: progress and words on stderr, results on stdout, JSON when a script reads.

Progress bars draw only on a terminal; in a log they become one line at the start, one a minute and one at the end.
Text that others wrote (a file's name, a path of the audit log, an answer) cannot move the cursor or change what stands
above it: signs that are not to be seen are shown as escapes.
"""

import getpass
import json
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

_UNLIMITED = 10_000  # columns
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # Unicode's categories
_HARMLESS = frozenset("\n\t\u200c\u200d")  # the last two join letters, and parts of emoji

notes = Console(stderr=True, highlight=False)
results = Console(highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """`text` with control characters, what turns the direction of writing, and all else unseen as escapes."""
    return "".join(_escaped(sign) if _is_unseen(sign) else sign for sign in text)


def say(message: str) -> None:
    """One line for the person watching; never part of the result."""
    notes.print(printable(message), markup=False, soft_wrap=True)


def show(result: str = "") -> None:
    """One line of the result, for people; `print_json` is for scripts."""
    results.print(printable(result), markup=False)


def person() -> str:
    """The account at this terminal; empty where it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@dataclass
class Task:
    """A running progress bar. `advance` moves it, `describe` changes what stands after it."""

    _progress: Progress
    _id: TaskID
    _every: float  # seconds between two lines of a log
    _said: float = field(default_factory=time.monotonic)

    def advance(self, steps: int = 1) -> None:
        """Move by `steps`."""
        self._progress.advance(self._id, steps)
        self._log()

    def describe(self, detail: str) -> None:
        """Show `detail` (a loss, a rate) behind the bar."""
        self._progress.update(self._id, detail=detail)

    def total(self, total: int) -> None:
        """Set the number of steps once it is known."""
        self._progress.update(self._id, total=total)

    def stage(self, description: str, done: int, total: int) -> None:
        """What it is at now, and how far; a total of 0 is one that nobody knows."""
        self._progress.update(self._id, description=description, completed=done, total=total or None)
        self._log()

    def _log(self) -> None:
        """How far it is, where no bar is drawn and the last line is a while ago."""
        if notes.is_terminal or time.monotonic() - self._said < self._every:
            return
        task = self._progress.tasks[0]
        if task.completed == task.total:  # the last line is about to be said
            return
        self._said = time.monotonic()
        of = "" if task.total is None else f" of {task.total:g}"
        detail = f" ({task.fields['detail']})" if task.fields["detail"] else ""
        say(f"{task.description}: {task.completed:g}{of} after {task.elapsed or 0:.0f} s{detail}")


@contextmanager
def progress(description: str, total: int | None, every: float = 60.0) -> Iterator[Task]:
    """A bar with count, time gone and time left; in a log a line each `every` seconds."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    if not notes.is_terminal:
        say(f"{description} ...")
    with Progress(*columns, console=notes, disable=not notes.is_terminal) as bar:
        task = Task(bar, bar.add_task(description, total=total, detail=""), every)
        yield task
        finished = bar.tasks[0]
    if not notes.is_terminal:
        count = f"{finished.completed:g} " if finished.completed else ""  # of some work nobody counts the steps
        say(f"{description}: {count}done in {finished.elapsed or 0:.1f} s")


def print_json(value: Any) -> None:
    """One JSON document on stdout. Pydantic models and lists of them are fine."""
    json.dump(_plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table on stdout; numbers are aligned right. Where no terminal limits it, it is as wide as it needs to be."""
    _print_table(_table(columns, rows, title), results)


def say_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table for the person watching, on stderr; never part of the result."""
    _print_table(_table(columns, rows, title), notes)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None) -> Table:
    heading = Text(title) if title is not None else None
    table = Table(*(Column(Text(name)) for name in columns), title=heading, title_justify="left", header_style="bold")
    for index, column in enumerate(table.columns):
        if rows and all(isinstance(row[index], int | float) for row in rows):
            column.justify = "right"
    for row in rows:
        table.add_row(
            *(Text(printable(str(cell))) for cell in row)
        )  # Text: what is in square brackets is no markup here
    return table


def _print_table(table: Table, console: Console) -> None:
    wide = Console(stderr=console.stderr, highlight=False, width=_UNLIMITED)
    (console if console.is_terminal else wide).print(table)


def _is_unseen(sign: str) -> bool:
    return sign not in _HARMLESS and unicodedata.category(sign) in _UNSEEN


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
