"""Who may see which passages of an index version: tenants, metadata filters and hidden documents, as one mask.

A search is handed the mask and looks at nothing else; no passage is fetched first and dropped afterwards. The mask is
worked out over documents and kept, so that a search with the same tenant, filters and hidden documents costs a look-up.
Documents that a search names are laid over it each time: hardly two searches name the same ones.
"""

import json
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.recent import Recent
from indexer.record import IndexedDocument, Record
from indexer.search import Hidden, Search
from ragtune.wire import Value

DOCUMENTS, OWNERS = "documents.jsonl", "owners.npy"
_KEPT = 64  # masks kept for each index version
Mask = NDArray[np.bool_]
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Visible:
    """`mask[i]` tells whether passage i may be seen; `bits` are the same, packed for FAISS, lowest bit first."""

    mask: Mask
    bits: NDArray[np.uint8]
    count: int

    @classmethod
    def of(cls, mask: Mask) -> "Visible":
        """The passages `mask` lets through."""
        return cls(mask, np.packbits(mask, bitorder="little"), int(mask.sum()))

    @property
    def all(self) -> bool:
        """Whether nothing is kept back."""
        return self.count == len(self.mask)


def write_owners(folder: Path, records: Sequence[Record], documents: Sequence[IndexedDocument]) -> None:
    """Store the documents, and which of them each passage belongs to. Raises ValueError for a passage of none."""
    rows = {(d.tenant, d.id, d.revision): row for row, d in enumerate(documents)}
    try:
        owners = [rows[r.tenant, r.document, r.revision] for r in records]
    except KeyError as error:
        raise ValueError(f"a passage belongs to none of the documents: {error}") from error
    with (folder / DOCUMENTS).open("w", encoding="utf-8") as lines:
        lines.writelines(document.model_dump_json() + "\n" for document in documents)
    np.save(folder / OWNERS, np.asarray(owners, dtype=np.int32))


class Visibility:
    """The masks of one opened version. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.owners: NDArray[np.int32] = np.load(folder / OWNERS, allow_pickle=False)
        self._path = folder / DOCUMENTS
        self._masks: Recent[Hashable, Visible] = Recent(_KEPT)
        self._everything = Visible.of(np.ones(len(self.owners), dtype=np.bool_))

    def of(self, search: Search, hidden: Hidden) -> Visible:
        """What this search may see, `hidden` documents left out."""
        if search.documents is None and not search.without_documents:
            return self._allowed(search, hidden)
        named = self._columns.named(search.documents, search.without_documents)
        return Visible.of(self._allowed(search, hidden).mask & named[self.owners])

    def _allowed(self, search: Search, hidden: Hidden) -> Visible:
        if search.tenant is None and not search.filters and not hidden.revisions:
            return self._everything
        key = (search.tenant, _filters_key(search.filters), hidden)
        return self._masks.get(key, lambda: self._work_out(search, hidden))

    def _work_out(self, search: Search, hidden: Hidden) -> Visible:
        columns = self._columns
        allowed = np.ones(columns.count, dtype=np.bool_)
        if search.tenant is not None:
            allowed &= columns.rows(columns.by_tenant, ["", search.tenant])
        for name, wanted in search.filters.items():
            values = wanted if isinstance(wanted, tuple) else (wanted,)
            allowed &= columns.rows(columns.by_value, [(name, *_typed(value)) for value in values])
        for document, revision in hidden.revisions.items():
            for row in columns.by_document.get(document, ()):
                allowed[row] &= columns.revisions[row] > revision
        return Visible.of(allowed[self.owners])

    @cached_property
    def _columns(self) -> "_Columns":
        """Read when the first search needs it."""
        return _Columns(self._path)


class _Columns:
    """Rows of the documents by what they are asked for."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.revisions: list[int] = []
        self.by_tenant: dict[str, list[int]] = defaultdict(list)
        self.by_id: dict[str, list[int]] = defaultdict(list)
        self.by_document: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.by_value: dict[tuple[str, bool, Value], list[int]] = defaultdict(list)
        with path.open(encoding="utf-8") as lines:
            for row, line in enumerate(lines):
                document = json.loads(line)  # checked when it was written; 100,000 models would take seconds
                self.count += 1
                self.revisions.append(document["revision"])
                self.by_tenant[document["tenant"]].append(row)
                self.by_id[document["id"]].append(row)
                self.by_document[document["tenant"], document["id"]].append(row)
                for name, value in document["metadata"].items():
                    self.by_value[(name, *_typed(value))].append(row)

    def named(self, only: Sequence[str] | None, never: Sequence[str]) -> Mask:
        """Which documents have one of the ids `only`, if it is given, and none of `never`; of any tenant."""
        mask = np.ones(self.count, dtype=np.bool_) if only is None else self.rows(self.by_id, only)
        return mask & ~self.rows(self.by_id, never)

    def rows(self, column: Mapping[K, list[int]], keys: Sequence[K]) -> Mask:
        """Which documents have one of these keys."""
        mask = np.zeros(self.count, dtype=np.bool_)
        for key in keys:
            mask[column.get(key, [])] = True
        return mask


def _filters_key(filters: Mapping[str, Value | tuple[Value, ...]]) -> Hashable:
    values = ((name, wanted if isinstance(wanted, tuple) else (wanted,)) for name, wanted in filters.items())
    return frozenset((name, frozenset(_typed(value) for value in wanted)) for name, wanted in values)


def _typed(value: Value) -> tuple[bool, Value]:
    """Python takes True for 1, a filter does not; it does take 1.0 for 1."""
    return isinstance(value, bool), value
