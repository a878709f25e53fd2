"""Search by words: BM25 (Robertson and Zaragoza 2009, in Lucene's form). bm25s lives in this file only.

Words are runs of two or more letters or digits in lower case, without English stop words, stemmed by Snowball's
English stemmer. k1 and b are the library's defaults, 1.5 and 0.75.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from indexer.fusion import Ranking
from indexer.visibility import Visible

LEXICAL = "lexical"
ANALYSIS = "bm25s lucene k1=1.5 b=0.75, english stop words, snowball english"
_EMPTY = ""  # bm25s's word for no word; a corpus of nothing but stop words has no other


def write_words(folder: Path, texts: Sequence[str]) -> None:
    """Store the words of `texts`, in order of passages."""
    splitter = bm25s.tokenization.Tokenizer(stopwords="english", stemmer=Stemmer.Stemmer("english"))
    ids = splitter.tokenize(texts, return_as="ids", show_progress=False, allow_empty=False)
    vocabulary = {word: number for word, number in splitter.get_vocab_dict().items() if word != _EMPTY}
    vocabulary[_EMPTY] = len(vocabulary)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    with np.errstate(invalid="ignore"), warnings.catch_warnings(category=RuntimeWarning, action="ignore"):
        # the mean length of no passages or no words is no number, and nothing is divided by it
        index.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    index.save(folder / LEXICAL, show_progress=False)


class Lexical:
    """The words of one opened version, in memory. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._index = bm25s.BM25.load(folder / LEXICAL, show_progress=False)

    def __len__(self) -> int:
        return int(self._index.scores["num_docs"])

    def scores(self, query: str) -> NDArray[np.float32]:
        """(n,) BM25 scores of all passages; 0 without a common word."""
        stemmer = Stemmer.Stemmer("english")  # one a query: it keeps a cache that threads may not share
        (words,) = bm25s.tokenize([query], stopwords="english", stemmer=stemmer, return_ids=False, show_progress=False)
        ids = self._index.get_tokens_ids(words)
        if not ids:
            return np.zeros(len(self), dtype=np.float32)
        return np.asarray(self._index.get_scores_from_ids(ids), dtype=np.float32)


def best(scores: NDArray[np.float32], top_k: int, visible: Visible) -> Ranking:
    """The `top_k` visible passages with the highest score above 0; equal ones in order of position.

    The mask is applied here: bm25s would multiply by it and return what is masked with the score 0.
    """
    positions = np.flatnonzero((scores > 0) & visible.mask)
    values = scores[positions]
    if len(positions) > top_k:
        least = np.partition(values, len(values) - top_k)[len(values) - top_k]
        positions, values = positions[values >= least], values[values >= least]
    order = np.lexsort((positions, -values))[:top_k]
    return list(zip(positions[order].tolist(), values[order].tolist(), strict=True))
