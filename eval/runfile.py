"""The run file: everything a report needs, so that a report is a pure function of it.

    run.jsonl     one line an arm and example, written as they are answered
    run.json      suite, server, versions, training bills, start and duration; written last

While a run is going on its lines are in `run.jsonl.partial`; a folder with `run.json` holds a whole run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

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
    """What the index of an arm cost once, and may cost again at every update."""

    version: str
    seconds: float | None = None
    passages: int | None = None
    bytes: int | None = None


class Alone(_Frozen):
    """Milliseconds of one request that had the service to itself: to its first token, and in all."""

    first_token_ms: float
    total_ms: float


class Header(_Frozen):
    """What holds for the whole run.

    `trained` and `indexed` are by arm; an arm that is not there uses none. `alone` are by arm the times of requests
    that ran alone; `data` is the SHA-256 of each task's examples file; `leaks` are by task the ids of examples that
    stand in the training files, too; `seconds` is what the run took, all its sittings together.
    """

    suite: Suite
    url: str
    server: Server | None
    trained: dict[str, Trained] = {}
    indexed: dict[str, Indexed] = {}
    alone: dict[str, tuple[Alone, ...]] = {}
    data: dict[str, str]
    leaks: dict[str, tuple[str, ...]] = {}
    started: str
    seconds: float
    sittings: int = 1
    ragtune: str


class Shown(_Frozen):
    """A passage that stood in the prompt; `number` is how the answer would cite it."""

    id: str
    document: str
    text: str
    number: int
    cited: bool = False


class Likelihood(_Frozen):
    """The log-probability, in nats, of a text of `tokens` tokens."""

    text: str
    logprob: float
    tokens: int


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
    usage: Usage
    timings: Timings


class Item(_Frozen):
    """One example in one arm, by the arm's name, asked for the `repeat`-th time with the seed of that repeat.

    `reply` and `scores` are empty if it failed: a failure is not a zero. A metric that cannot be had of an answer is
    not in `scores`. `predicted` is the label read from the answer where the task has labels, "" if it is none of them.
    `gold_retrieved` is None where the mode retrieves nothing or the example names no document. `cluster` is what the
    example shares with others that are not independent of it: its first gold document, or itself.
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
    reused: bool = False


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
