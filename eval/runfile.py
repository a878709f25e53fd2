"""The run file: everything a report needs, so that a report is a pure function of it.

    run.jsonl     one line an arm and example, written as they are answered
    run.json      suite, server, versions, training bills, start and duration; written last

While a run is going on its lines are in `run.jsonl.partial`; a folder with `run.json` holds a whole run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from eval.suite import Suite
from ragtune.errors import RefusedArtifact
from ragtune.wire import FinishReason, Timings, Usage

HEADER, ITEMS, PARTIAL = "run.json", "run.jsonl", "run.jsonl.partial"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Model(_Frozen):
    """A thing the server offers: `root` is its pinned version."""

    id: str
    kind: str
    root: str


class Server(_Frozen):
    """What the server says of itself. `note` tells how the base model was changed, e.g. dequantised."""

    base: str
    note: str | None
    fingerprint: str
    device: str
    max_model_len: int
    models: tuple[Model, ...] = ()


class Header(_Frozen):
    """What holds for the whole run.

    `training_seconds` is by adapter as the arms write it, None where its training is not recorded; `alone_ms` is by arm
    the time to first token of requests that ran alone; `data` is the SHA-256 of each task's examples file; `seconds` is
    what the run took.
    """

    suite: Suite
    url: str
    server: Server
    training_seconds: dict[str, float | None]
    alone_ms: dict[str, tuple[float, ...]] = {}
    data: dict[str, str]
    started: str
    seconds: float
    ragtune: str


class Reply(_Frozen):
    """What came back for one example; `passages` are ids, in the order of the prompt."""

    id: str
    text: str
    finish_reason: FinishReason
    resolved_mode: str
    versions: dict[str, str]
    passages: tuple[str, ...] = ()
    usage: Usage
    timings: Timings


class Item(_Frozen):
    """One example in one arm, by the arm's name. `reply` and `scores` are empty if it failed: a failure is not a zero.

    `gold_retrieved` is None where the mode retrieves nothing or the example names no document.
    """

    arm: str
    task: str
    example: str
    slice: str = ""
    query: str
    answers: tuple[str, ...]
    reply: Reply | None = None
    scores: dict[str, float] = {}
    unparsable: bool = False
    gold_retrieved: bool | None = None
    error: str | None = None
    retries: int = 0


@dataclass(frozen=True)
class Run:
    """A whole run."""

    header: Header
    items: Sequence[Item]


class RunWriter:
    """Writes a run into a folder, line by line; an earlier run there stays until this one is published."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._items = (folder / PARTIAL).open("w", encoding="utf-8")

    def write(self, item: Item) -> None:
        """Append one item."""
        self._items.write(item.model_dump_json() + "\n")
        self._items.flush()

    def publish(self, header: Header) -> None:
        """The run is whole: put it in the place of an earlier one."""
        self.close()
        (self._folder / HEADER).unlink(missing_ok=True)
        (self._folder / PARTIAL).rename(self._folder / ITEMS)
        beside = self._folder / f"{HEADER}.new"
        beside.write_text(header.model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.rename(self._folder / HEADER)

    def close(self) -> None:
        """No more items."""
        self._items.close()


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises RefusedArtifact if there is none, or not a whole one."""
    if not (folder / HEADER).exists() and (folder / PARTIAL).exists():
        raise RefusedArtifact(f"the run in {folder} was cut off; its answers so far are in {PARTIAL}")
    try:
        header = Header.model_validate_json((folder / HEADER).read_bytes())
        return Run(header, list(_items(folder / ITEMS)))
    except OSError as error:
        raise RefusedArtifact(f"{folder} holds no evaluation run: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise RefusedArtifact(f"the run in {folder} cannot be read: {field}: {first['msg']}") from error


def _items(path: Path) -> Iterator[Item]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Item.model_validate_json(line)
