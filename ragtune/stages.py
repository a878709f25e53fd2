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
    """One finished stage. `again` when it was found up to date in this run; `seconds` are of when it was done, `before`
    those among them that it took until it was interrupted or failed earlier."""

    model_config = ConfigDict(frozen=True)

    inputs: str
    result: str
    seconds: float
    before: float = 0.0
    again: bool = False


class Begun(BaseModel):
    """A stage that was interrupted or failed, and the seconds that it took until then, all tries together."""

    model_config = ConfigDict(frozen=True)

    inputs: str
    seconds: float


class Record(BaseModel):
    """What the record file holds."""

    stages: dict[str, Done] = {}
    begun: dict[str, Begun] = {}


class Stages:
    """Runs named stages once per inputs, with a header each, and keeps the bill."""

    def __init__(self, file: Path, total: int | None) -> None:
        """`total` is the number of stages to come, for the headers; None until it is known and set."""
        self._file = file
        self.total = total
        self._begun = 0
        self._began = time.monotonic()
        earlier = _read(file)
        self._earlier, self._unfinished = earlier.stages, earlier.begun
        self._before = 0.0
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
            done = self._do(name, inputs, work)
        self._keep(name, done)
        return done.result

    def _do(self, name: str, inputs: str, work: Callable[[], str]) -> Done:
        """What it took is kept also where it does not get to its end."""
        begun = self._unfinished.get(name)
        before = begun.seconds if begun and begun.inputs == inputs else 0.0
        self._before += before
        started = time.monotonic()
        try:
            result = work()
        except BaseException:
            self._unfinished[name] = Begun(inputs=inputs, seconds=before + time.monotonic() - started)
            self._write()
            raise
        return Done(inputs=inputs, result=result, seconds=before + time.monotonic() - started, before=before)

    def header(self, name: str) -> None:
        """Announce a stage, with the time since the start."""
        self._begun += 1
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        number = f"{self._begun}/{self.total}" if self.total else str(self._begun)
        say(f"\n── {number} {name} ── {minutes}:{seconds:02d} since the start")

    @property
    def spent(self) -> float:
        """Seconds so far: since the start, what was found up to date took when it was done, and what was begun again
        took before it was interrupted."""
        earlier = sum(done.seconds for done in self.bill.values() if done.again)
        return earlier + self._before + time.monotonic() - self._began

    def _keep(self, name: str, done: Done) -> None:
        self.bill[name] = done
        self._earlier[name] = done.model_copy(update={"again": False})
        self._unfinished.pop(name, None)
        self._write()

    def _write(self) -> None:
        record = Record(stages=self._earlier, begun=self._unfinished)
        beside = self._file.with_suffix(".new")
        beside.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.rename(self._file)


def print_bill(bill: Mapping[str, Done]) -> None:
    """Where the time went."""
    rows = [(name, round(done.seconds, 1), done.result, _when(done)) for name, done in bill.items()]
    rows.append(
        (
            "in all",
            round(sum(done.seconds - done.before for done in bill.values() if not done.again), 1),
            "",
            "this time",
        )
    )
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
    if done.again:
        return "an earlier time"
    return f"{done.before:.1f} of them before it went on this time" if done.before else "this time"
