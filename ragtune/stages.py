"""Stages of a longer work: what was done with which inputs, how long it took, and what need not be done again.

The record is a small JSON file. A stage is up to date when its inputs hash as they did and its result is still there.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ragtune.terminal import print_table, say


class Done(BaseModel):
    """One finished stage. `again` when it was found up to date in this run; `seconds` are of when it was done."""

    model_config = ConfigDict(frozen=True)

    inputs: str
    result: str
    seconds: float
    again: bool = False


class Record(BaseModel):
    """What the record file holds."""

    stages: dict[str, Done] = {}


class Stages:
    """Runs named stages once per inputs, with a header each, and keeps the bill."""

    def __init__(self, file: Path, total: int | None) -> None:
        """`total` is the number of stages to come, for the headers; None until it is known and set."""
        self._file = file
        self.total = total
        self._begun = 0
        self._began = time.monotonic()
        self._earlier = _read(file).stages
        self.bill: dict[str, Done] = {}

    def up_to_date(self, name: str, inputs: str, is_there: Callable[[str], bool]) -> bool:
        """Whether an earlier run did this with the same inputs, and `is_there` still finds its result."""
        done = self._earlier.get(name)
        return done is not None and done.inputs == inputs and is_there(done.result)

    def run(self, name: str, inputs: str, is_there: Callable[[str], bool], work: Callable[[], str]) -> str:
        """The result of `work`, or of the earlier run that is up to date."""
        self.header(name)
        if self.up_to_date(name, inputs, is_there):
            done = self._earlier[name].model_copy(update={"again": True})
            say(f"{done.result} is up to date (it took {done.seconds:.1f} s)")
        else:
            started = time.monotonic()
            result = work()
            done = Done(inputs=inputs, result=result, seconds=time.monotonic() - started)
        self._keep(name, done)
        return done.result

    def header(self, name: str) -> None:
        """Announce a stage, with the time since the start."""
        self._begun += 1
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        number = f"{self._begun}/{self.total}" if self.total else str(self._begun)
        say(f"\n── {number} {name} ── {minutes}:{seconds:02d} since the start")

    @property
    def spent(self) -> float:
        """Seconds so far: since the start, and what was found up to date took when it was done."""
        earlier = sum(done.seconds for done in self.bill.values() if done.again)
        return earlier + time.monotonic() - self._began

    def _keep(self, name: str, done: Done) -> None:
        self.bill[name] = done
        record = Record(stages=self._earlier | {name: done.model_copy(update={"again": False})})
        self._earlier = record.stages
        beside = self._file.with_suffix(".new")
        beside.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.rename(self._file)


def print_bill(bill: Mapping[str, Done]) -> None:
    """Where the time went."""
    rows = [(name, round(done.seconds, 1), done.result, _when(done)) for name, done in bill.items()]
    rows.append(("in all", round(sum(done.seconds for done in bill.values() if not done.again), 1), "", "this time"))
    print_table(("stage", "seconds", "result", "when"), rows, title="Where the time went")


def fingerprint(*parts: Path | str) -> str:
    """SHA-256 over texts, files, and folders with all files in them (names and bytes)."""
    sha = hashlib.sha256()
    for part in parts:
        for name, content in _contents(part):
            sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()


def _contents(part: Path | str) -> Sequence[tuple[str, bytes]]:
    if isinstance(part, str):
        return [("", part.encode())]
    if part.is_file():
        return [(part.name, part.read_bytes())]
    files = sorted(path for path in part.rglob("*") if path.is_file())
    return [(str(path.relative_to(part)), path.read_bytes()) for path in files]


def _read(file: Path) -> Record:
    try:
        return Record.model_validate_json(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return Record()  # nothing done yet, or by a ragtune that kept it otherwise: everything is done anew


def _when(done: Done) -> str:
    return "an earlier time" if done.again else "this time"
