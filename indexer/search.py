"""Exact dense search over one index version. FAISS lives in this file only."""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.embedding import Vectors
from ragtune.wire import Passage

PASSAGES, VECTORS = "passages.jsonl", "vectors.faiss"


def write(folder: Path, passages: Sequence[Passage], vectors: Vectors) -> None:
    """Put passages and their (n, dimension) vectors of length 1 into `folder`."""
    lines = (passage.model_dump_json(exclude={"score"}) + "\n" for passage in passages)
    (folder / PASSAGES).write_text("".join(lines), encoding="utf-8")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(folder / VECTORS))


class Index:
    """One opened version, held in memory. Reading is safe from several threads."""

    def __init__(self, folder: Path) -> None:
        faiss.omp_set_num_threads(1)  # torch brings an OpenMP of its own; two of them must not compete
        with (folder / PASSAGES).open(encoding="utf-8") as lines:
            self.passages = [Passage.model_validate_json(line) for line in lines]
        self._index = faiss.read_index(str(folder / VECTORS))

    def search(self, vector: Vectors, top_k: int) -> list[Passage]:
        """The `top_k` passages nearest to a (dimension,) vector of length 1, best first, `score` their cosine.

        Equal scores come in order of position. FAISS pads missing results with -1; they are dropped.
        """
        scores, ids = self._index.search(np.ascontiguousarray(vector[None], dtype=np.float32), top_k)
        found = sorted((-float(score), int(i)) for score, i in zip(scores[0], ids[0], strict=True) if i >= 0)
        return [self.passages[i].model_copy(update={"score": -score}) for score, i in found]
