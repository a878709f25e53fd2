"""The run file: everything a report needs, one JSON object a line, written as it happens.

header.json     suite, server, versions, training bills, start
items.jsonl     one line an arm and example
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from eval.suite import Suite
from ragtune.errors import RefusedArtifact
from ragtune.wire import Answer

HEADER, ITEMS = "header.json", "items.jsonl"


class Header(BaseModel):
    """What holds for the whole run. `training_seconds` is by adapter name."""

    model_config = ConfigDict(frozen=True)

    suite: Suite
    url: str
    base: str
    note: str | None
    fingerprint: str
    device: str
    training_seconds: dict[str, float]
    started: str
    ragtune: str


class Item(BaseModel):
    """One example in one arm. `scores` is empty if the request failed: a failure is not a zero.

    `alone` marks the items asked one at a time, whose time to first token is free of queueing.
    """

    model_config = ConfigDict(frozen=True)

    arm: str
    task: str
    example: str
    slice: str
    query: str
    answers: tuple[str, ...]
    gold_documents: tuple[str, ...] = ()
    answer: Answer | None = None
    error: str | None = None
    retries: int = 0
    alone: bool = False
    scores: dict[str, float] = {}


class RunWriter:
    """Writes a run into a folder, line by line."""

    def __init__(self, folder: Path, header: Header) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).write_text(header.model_dump_json(indent=2) + "\n", encoding="utf-8")
        self._items = (folder / ITEMS).open("w", encoding="utf-8")

    def write(self, item: Item) -> None:
        """Append one item."""
        self._items.write(item.model_dump_json() + "\n")
        self._items.flush()

    def close(self) -> None:
        """No more items."""
        self._items.close()


def read_run(folder: Path) -> tuple[Header, list[Item]]:
    """Header and items of a run. Raises RefusedArtifact if the folder holds none."""
    try:
        header = Header.model_validate_json((folder / HEADER).read_bytes())
        return header, list(_items(folder / ITEMS))
    except OSError as error:
        raise RefusedArtifact(f"{folder} holds no evaluation run: {error.strerror}") from error
    except ValidationError as error:
        raise RefusedArtifact(f"the run in {folder} cannot be read: {error.errors()[0]['msg']}") from error


def _items(path: Path) -> Iterator[Item]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Item.model_validate_json(line)
