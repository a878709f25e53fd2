"""All pairs of texts that are worded nearly the same, exactly and without comparing all with all.

The similarity is that of Jaccard, of the sets of four characters in a row within words. Two sets whose similarity is t
or more share at least t of either's members, so that they have one of each other's rarest in common (prefix filtering:
Chaudhuri, Ganti and Kaushik 2006): only pairs that do are compared.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

Positions = NDArray[np.int64]
Similar = tuple[Positions, Positions, NDArray[np.float64]]
_ROWS, _PAIRS = 1024, 1 << 17  # texts of the second set, and pairs, looked at together: this bounds the memory


def similar(first: Sequence[str], second: Sequence[str], least: float) -> Iterator[Similar]:
    """Positions in `first`, positions in `second`, and the similarity of each pair that has `least` or more, in parts.

    No text may be blank.
    """
    sets = _sets([*first, *second])
    ours, theirs = sets[: len(first)], sets[len(first) :]
    rare = _rarest(ours, least).T.tocsr()
    for start in range(0, len(second), _ROWS):
        candidates = (_rarest(theirs[start : start + _ROWS], least) @ rare).tocoo()
        for at in range(0, candidates.nnz, _PAIRS):
            i = candidates.col[at : at + _PAIRS].astype(np.int64)
            j = candidates.row[at : at + _PAIRS].astype(np.int64) + start
            likeness = _jaccard(ours[i], theirs[j])
            enough = likeness >= least
            yield i[enough], j[enough], likeness[enough]


def _sets(texts: Sequence[str]) -> csr_matrix:
    """(texts, shingles) ones, the rarest shingle first."""
    found = CountVectorizer(analyzer="char_wb", ngram_range=(4, 4), binary=True, dtype=np.int32).fit_transform(texts)
    rarest_first = np.argsort(np.asarray(found.sum(axis=0)).ravel(), kind="stable")
    ordered = csr_matrix(found[:, rarest_first])
    ordered.sort_indices()
    return ordered


def _rarest(sets: csr_matrix, least: float) -> csr_matrix:
    """Of each set only as many of its rarest members as a similar one must have one of."""
    sizes = np.diff(sets.indptr)
    kept = sizes - np.ceil(least * sizes - 1e-9).astype(sizes.dtype) + 1
    place = np.arange(sets.nnz) - np.repeat(sets.indptr[:-1], sizes)
    keep = place < np.repeat(kept, sizes)
    starts = np.concatenate([[0], np.cumsum(kept)])
    return csr_matrix((sets.data[keep], sets.indices[keep], starts), shape=sets.shape)


def _jaccard(ours: csr_matrix, theirs: csr_matrix) -> NDArray[np.float64]:
    """Row by row, what the two have in common over what either has."""
    common = np.asarray(ours.multiply(theirs).sum(axis=1)).ravel()
    either = np.diff(ours.indptr) + np.diff(theirs.indptr) - common
    return np.asarray(common / either, dtype=np.float64)
