"""The run file: everything a report needs, so that a report is a pure function of it.

    run.jsonl     one line an arm, example and repeat, in the order of the plan
    run.json      suite, server, versions, training bills, start and duration; written last

While a run is going on, or after it was cut off, its header is in `run.json.partial`, and the lines so far, in the
order answered, in `run.jsonl.partial`; a folder with `run.json` holds a whole run.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from eval.suite import Suite
from ragtune.errors import AlreadyRunning, RefusedArtifact
from ragtune.wire import FinishReason, Timings

HEADER, ITEMS, BEGUN, PARTIAL = "run.json", "run.jsonl", "run.json.partial", "run.jsonl.partial"
Place = tuple[str, str, str, int]  # arm, task, example, repeat


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Model(_Frozen):
    """A thing the server offers: `root` is its pinned version."""

    id: str
    kind: str
    root: str


class Server(_Frozen):
    """What the server says of itself. `note` tells how the base model was changed, e.g. dequantised; `deadline` are the
    seconds that a request gets at most."""

    base: str
    note: str | None
    fingerprint: str
    device: str
    max_model_len: int
    deadline: float | None = None
    models: tuple[Model, ...] = ()


class Trained(_Frozen):
    """What the adapters of an arm cost once. Seconds, bytes; None where it is not recorded.

    `rates` is how many learning rates were searched, `steps` the optimiser steps of the training that was published.
    """

    seconds: float | None = None
    peak_memory: int | None = None
    artifact_bytes: int | None = None
    price: float | None = None
    steps: int | None = None
    rates: int | None = None
    examples: int | None = None
    data: str | None = None
    recipe: dict[str, JsonValue] = {}


class Indexed(_Frozen):
    """What the index of an arm cost: `seconds` in all, `update_seconds` at its last build, as the next change may."""

    version: str
    seconds: float | None = None
    update_seconds: float | None = None
    passages: int | None = None


class Alone(_Frozen):
    """Milliseconds of one request that had the service to itself: to its first token, and in all."""

    first_token_ms: float
    total_ms: float


class Header(_Frozen):
    """What holds for the whole run.

    `modes` are by arm what was asked, its versions pinned; an outside arm has none. `judge` and `embedding` are the
    models that answers are scored by, pinned, too. `trained` and `indexed` are by arm; an arm that is not there uses
    none. `alone` are by arm the times of requests that ran alone. `data` is the SHA-256 of each task's examples;
    `left_out` counts by arm the questions that could not be asked, as their example names nothing that holds the
    answer. `leaks` are by task the ids of examples that stand in the training files, too; a run with some was allowed
    to have them. `unchecked` are by arm the reasons why what it was trained on could not be looked at. `known` is by
    index and task the share of examples of which an answer was found in the knowledge base: by a search for it, so it
    may be more. `unheld` counts by arm with gold passages the questions whose passages hold none of the accepted
    answers. `seconds` is what the run took, all its sittings together, `started` when the first began.
    """

    suite: Suite
    url: str
    server: Server | None
    modes: dict[str, str] = {}
    trained: dict[str, Trained] = {}
    indexed: dict[str, Indexed] = {}
    alone: dict[str, tuple[Alone, ...]] = {}
    judge: str | None = None
    embedding: str | None = None
    data: dict[str, str]
    left_out: dict[str, int] = {}
    leaks: dict[str, tuple[str, ...]] = {}
    unchecked: dict[str, tuple[str, ...]] = {}
    unheld: dict[str, int] = {}
    known: dict[str, dict[str, float]] = {}
    started: str
    seconds: float
    sittings: int = 1
    ragtune: str


class Shown(_Frozen):
    """A passage that stood in the prompt; `number` is how the answer would cite it, `score` what ranked it."""

    id: str
    document: str
    text: str
    number: int
    cited: bool = False
    score: float = 0.0


class Likelihood(_Frozen):
    """The log-probability, in nats, of a text of `tokens` tokens."""

    text: str
    logprob: float
    tokens: int


class Used(_Frozen):
    """Tokens of one answer; `cached_tokens` is None where the endpoint does not say."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    virtual_tokens: int = 0


class Reply(_Frozen):
    """What came back for one example; `passages` are in the order of the prompt.

    `likelihoods` are, where they were asked for, the log-probability of each of the example's choices (or of its first
    answer) given the question, and how many tokens it has.
    """

    id: str
    text: str
    finish_reason: FinishReason
    resolved_mode: str
    versions: dict[str, str]
    passages: tuple[Shown, ...] = ()
    likelihoods: tuple[Likelihood, ...] = ()
    usage: Used
    timings: Timings


class Item(_Frozen):
    """One example in one arm, by the arm's name, asked for the `repeat`-th time with the seed of that repeat.

    `reply` and `scores` are empty if it failed: a failure is not a zero. A metric that cannot be had of an answer is
    not in `scores`. `predicted` is the label read from the answer where the task has labels, "" if it is none of them.
    `gold_retrieved` is None where the mode retrieves nothing or the example names no document. `cluster` is what the
    example shares with others that are not independent of it: its first gold document, the text it stands on, or
    itself. `alone`: nothing else was asked meanwhile. `warm_up`: nor then, but what it took is not to be counted, as it
    may be what only the first request takes. `reused`: taken from an earlier run, whose timings it has. `key`
    is equal for items that asked the same of the same versions.
    """

    arm: str
    task: str
    example: str
    repeat: int = 0
    cluster: str = ""
    slice: str = ""
    query: str
    answers: tuple[str, ...]
    reply: Reply | None = None
    scores: dict[str, float] = {}
    unparsable: bool = False
    predicted: str | None = None
    gold_retrieved: bool | None = None
    error: str | None = None
    retries: int = 0
    alone: bool = False
    warm_up: bool = False
    reused: bool = False
    key: str = ""

    @property
    def place(self) -> Place:
        """What tells it from all other items of its run."""
        return self.arm, self.task, self.example, self.repeat


@dataclass(frozen=True)
class Run:
    """A whole run."""

    header: Header
    items: Sequence[Item]


class RunWriter:
    """Writes a run into a folder, line by line; an earlier run there stays until this one is published.

    Nobody else writes there from now on, so that what is read of the folder stays true. Raises AlreadyRunning if
    another process writes there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise AlreadyRunning(
                f"another run is writing into {folder}; wait for it, or choose another --out"
            ) from error
        self._items: TextIO | None = None

    def begin(self, header: Header, kept: Iterable[Item] = ()) -> None:
        """A sitting, `kept` being the items to go on from. They come first: at no moment does the folder hold items of
        one run under the header of another."""
        _write(self._folder / PARTIAL, "".join(item.model_dump_json() + "\n" for item in kept))
        _write(self._folder / BEGUN, header.model_dump_json(indent=2) + "\n")
        self._items = (self._folder / PARTIAL).open("a", encoding="utf-8")

    def write(self, item: Item) -> None:
        """Append one item to a sitting that has begun."""
        assert self._items is not None
        self._items.write(item.model_dump_json() + "\n")
        self._items.flush()

    def publish(self, header: Header, order: Sequence[Place]) -> None:
        """The run is whole: put it, in this order, in the place of an earlier one."""
        assert self._items is not None
        self._items.close()
        at = {place: number for number, place in enumerate(order)}
        items = sorted(_items(self._folder / PARTIAL), key=lambda item: at[item.place])
        _write(self._folder / PARTIAL, "".join(item.model_dump_json() + "\n" for item in items))
        (self._folder / HEADER).unlink(missing_ok=True)
        (self._folder / PARTIAL).rename(self._folder / ITEMS)
        _write(self._folder / HEADER, header.model_dump_json(indent=2) + "\n")
        (self._folder / BEGUN).unlink(missing_ok=True)
        self.close()

    def revise(self, header: Header) -> None:
        """Another header for the whole run that is there."""
        _write(self._folder / HEADER, header.model_dump_json(indent=2) + "\n")

    def close(self) -> None:
        """No more items, and others may write."""
        if self._items is not None:
            self._items.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises RefusedArtifact if there is none, or not a whole one."""
    if not (folder / HEADER).exists() and (folder / BEGUN).exists():
        raise RefusedArtifact(
            f"the run in {folder} was cut off; 'ragtune eval run SUITE --out {folder}' goes on with it. Its answers so "
            f"far are in {PARTIAL}"
        )
    return _read(folder, HEADER, ITEMS)


@dataclass(frozen=True)
class Unfinished:
    """A run to go on from: what it began with, and its items so far; `seconds` is what it took up to now. Of a `whole`
    one all was asked already."""

    header: Header
    items: Sequence[Item]
    seconds: float
    whole: bool


def read_unfinished(folder: Path) -> Unfinished | None:
    """The run in `folder` that was cut off, else the whole one, to which failed items may be asked again; None without.

    A line that was cut in half is dropped. Raises RefusedArtifact for what cannot be read.
    """
    if not (folder / BEGUN).exists():
        if not (folder / HEADER).exists():
            return None
        whole = read_run(folder)
        return Unfinished(whole.header, whole.items, whole.header.seconds, whole=True)
    lines = folder / PARTIAL
    if not lines.exists():
        lines = folder / ITEMS  # it ended while it was published
    begun = _read(folder, BEGUN, lines.name if lines.exists() else None)
    last = lines.stat().st_mtime if lines.exists() else 0.0
    sitting = max(0.0, last - (folder / BEGUN).stat().st_mtime)
    return Unfinished(begun.header, begun.items, begun.header.seconds + sitting, whole=False)


def _read(folder: Path, header: str, items: str | None) -> Run:
    try:
        return Run(
            Header.model_validate_json((folder / header).read_bytes()), list(_items(folder / items)) if items else []
        )
    except OSError as error:
        raise RefusedArtifact(f"{folder} holds no evaluation run: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise RefusedArtifact(f"the run in {folder} cannot be read: {field}: {first['msg']}") from error


def _items(path: Path) -> Iterator[Item]:
    """Every whole line; what follows the last line feed was cut off."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield Item.model_validate_json(line)


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.rename(path)
