"""Exact search by the inner product of vectors of length 1, that is by cosine. FAISS lives in this file only."""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.embedding import Vectors
from indexer.fusion import Ranking
from indexer.visibility import Visible

VECTORS = "vectors.faiss"


def write_vectors(folder: Path, vectors: Vectors) -> None:
    """Store (n, dimension) vectors of length 1."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    faiss.write_index(index, str(folder / VECTORS))


def read_vectors(folder: Path) -> Vectors:
    """The (n, dimension) vectors stored in `folder`, in order of passages."""
    index = _read(folder)
    return np.asarray(index.reconstruct_n(0, index.ntotal), dtype=np.float32)


class Dense:
    """The vectors of one opened version, in memory. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._index = _read(folder)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def nearest(self, vector: Vectors, top_k: int, visible: Visible) -> Ranking:
        """The `top_k` visible passages nearest to a (dimension,) vector of length 1, with their cosines.

        Fewer only if fewer are visible; equal ones in order of position.
        """
        top_k = min(top_k, visible.count)
        if not top_k:
            return []
        faiss.omp_set_num_threads(1)  # a thread's own setting; torch brings another OpenMP, and two must not compete
        scores, positions = self._index.search(
            np.ascontiguousarray(vector[None], np.float32), top_k, params=_only(visible)
        )
        found = zip(positions[0].tolist(), scores[0].tolist(), strict=True)
        return sorted(((i, score) for i, score in found if i >= 0), key=lambda hit: (-hit[1], hit[0]))

    def cosines(self, vector: Vectors, positions: Sequence[int]) -> dict[int, float]:
        """The cosine of each of these passages."""
        if not positions:
            return {}
        rows = self._index.reconstruct_batch(np.asarray(positions, dtype=np.int64))
        return dict(zip(positions, (rows @ vector).tolist(), strict=True))


def _only(visible: Visible) -> faiss.SearchParameters | None:
    """What confines a search to the visible passages. It points into `visible.bits`, which the caller holds."""
    if visible.all:
        return None
    only = faiss.SearchParameters()
    only.sel = faiss.IDSelectorBitmap(len(visible.bits), faiss.swig_ptr(visible.bits))
    return only


def _read(folder: Path) -> faiss.Index:
    try:
        return faiss.read_index(str(folder / VECTORS))
    except RuntimeError as error:  # what FAISS raises for a missing file, too
        raise OSError(f"{VECTORS} cannot be read") from error
