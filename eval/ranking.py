"""How good a ranking of documents is, for one query, each between 0 and 1. Plain Python; as NIST's trec_eval counts.

A document's gain is its degree of relevance; without one, or under 1, it is not relevant.
"""

import math
from collections.abc import Mapping, Sequence


def in_order(scores: Mapping[str, float]) -> list[str]:
    """Documents by score, best first; equal ones by name backwards, as trec_eval has them."""
    return sorted(scores, key=lambda document: (scores[document], document), reverse=True)


def ndcg(ranking: Sequence[str], gains: Mapping[str, int], cut: int) -> float:
    """Normalised discounted cumulative gain at `cut` (Järvelin and Kekäläinen 2002): the sum of gain / log2(1 + rank)
    over that of the best order there is. 0 if no document is relevant."""
    best = _discounted(sorted(gains.values(), reverse=True)[:cut])
    return _discounted([gains.get(document, 0) for document in ranking[:cut]]) / best if best else 0.0


def reciprocal_rank(ranking: Sequence[str], gains: Mapping[str, int], cut: int) -> float:
    """1 / the rank of the first relevant document; 0 if none is among the first `cut`."""
    ranks = (rank for rank, document in enumerate(ranking[:cut], start=1) if gains.get(document, 0) > 0)
    return 1 / next(ranks, math.inf)


def recall(ranking: Sequence[str], gains: Mapping[str, int], cut: int) -> float:
    """The share of the relevant documents that is among the first `cut`. 0 if no document is relevant."""
    relevant = {document for document, gain in gains.items() if gain > 0}
    return len(relevant & set(ranking[:cut])) / len(relevant) if relevant else 0.0


def _discounted(gains: Sequence[int]) -> float:
    return sum(max(0, gain) / math.log2(1 + rank) for rank, gain in enumerate(gains, start=1))
