"""What a version's folder holds, written once and opened for searching.

    passages.jsonl    one Record a line                 offsets.npy   where each line begins, and where the last ends
    documents.jsonl   one IndexedDocument a line        owners.npy    the document each passage belongs to
    vectors.faiss     one vector a passage              lexical/      the words, as bm25s saves them

Opening reads arrays only. Of the passages a search returns, and of no others, the lines are read and parsed.
"""

import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from indexer.dense import VECTORS, Dense, write_vectors
from indexer.embedding import Vectors
from indexer.lexical import LEXICAL, Lexical, write_words
from indexer.record import IndexedDocument, Record
from indexer.visibility import DOCUMENTS, OWNERS, Visibility, write_owners
from ragtune.errors import IncompatibleParts

PASSAGES, OFFSETS = "passages.jsonl", "offsets.npy"
_SINCE = (OFFSETS, OWNERS, DOCUMENTS, LEXICAL)  # what the first builds did not write


def write(folder: Path, records: Sequence[Record], documents: Sequence[IndexedDocument], vectors: Vectors) -> None:
    """Fill `folder`: the i-th of the (n, dimension) vectors of length 1 belongs to the i-th record.

    Every record's tenant, document and revision must be those of one of the documents, or ValueError is raised.
    """
    if len(records) != len(vectors):
        raise ValueError(f"{len(records)} passages do not go with {len(vectors)} vectors")
    write_owners(folder, records, documents)
    offsets = np.zeros(len(records) + 1, dtype=np.int64)
    with (folder / PASSAGES).open("wb") as file:
        for number, record in enumerate(records, start=1):
            offsets[number] = offsets[number - 1] + file.write(record.model_dump_json().encode() + b"\n")
    np.save(folder / OFFSETS, offsets)
    write_vectors(folder, vectors)
    write_words(folder, [record.searched_text for record in records])


def read_records(folder: Path) -> Iterator[Record]:
    """All passages of a version, in order."""
    with (folder / PASSAGES).open(encoding="utf-8") as lines:
        yield from map(Record.model_validate_json, lines)


def read_documents(folder: Path) -> Iterator[IndexedDocument]:
    """All documents of a version, in order."""
    with (folder / DOCUMENTS).open(encoding="utf-8") as lines:
        yield from map(IndexedDocument.model_validate_json, lines)


class Contents:
    """One opened version. Safe to search from several threads.

    Raises OSError if the folder is gone, ValueError if its files do not belong together, IncompatibleParts for one
    that an older ragtune built.
    """

    def __init__(self, folder: Path) -> None:
        if (folder / VECTORS).exists() and not all((folder / name).exists() for name in _SINCE):
            raise IncompatibleParts("this index version was built by an older ragtune; rebuild it")
        self.dense, self.lexical, self.visibility = Dense(folder), Lexical(folder), Visibility(folder)
        self._offsets = np.load(folder / OFFSETS, allow_pickle=False)
        self._passages = os.open(folder / PASSAGES, os.O_RDONLY)
        weakref.finalize(self, os.close, self._passages)
        counts = {len(self.dense), len(self.lexical), len(self.visibility.owners), len(self._offsets) - 1}
        if len(counts) != 1:
            raise ValueError(f"the files of {folder} hold different numbers of passages: {sorted(counts)}")

    def record(self, position: int) -> Record:
        """The passage at this position."""
        start, end = int(self._offsets[position]), int(self._offsets[position + 1])
        return Record.model_validate_json(os.pread(self._passages, end - start, start))
