"""The documents a search gave, as metrics of one item; the formulas are in `eval/ranking.py`."""

from collections.abc import Callable, Mapping, Sequence

from eval import ranking
from eval.observed import Observed
from ragtune.examples import Example

NDCG_CUT = 10


def relevance(example: Example) -> dict[str, int]:
    """How relevant each document is: the example's gains, else 1 for each gold document; empty if none is named."""
    return dict(example.gains) or dict.fromkeys(example.gold_documents, 1)


def relevant(example: Example) -> frozenset[str]:
    """The documents that are relevant at all."""
    return frozenset(document for document, gain in relevance(example).items() if gain > 0)


def recall(observed: Observed) -> float | None:
    """The share of the relevant documents among all that were retrieved."""
    return _of_ranking(observed, lambda found, gains: ranking.recall(found, gains, len(found)))


def mrr(observed: Observed) -> float | None:
    """1 / the rank of the first relevant document among all that were retrieved; its mean is the MRR."""
    return _of_ranking(observed, lambda found, gains: ranking.reciprocal_rank(found, gains, len(found)))


def ndcg(observed: Observed) -> float | None:
    """nDCG at NDCG_CUT."""
    return _of_ranking(observed, lambda found, gains: ranking.ndcg(found, gains, NDCG_CUT))


def gold_retrieved(observed: Observed) -> bool | None:
    """Whether a relevant document stood in the prompt; None where nothing was searched or no document is named."""
    gold = relevant(observed.example)
    if observed.ranking is None or not gold:
        return None
    return any(passage.document in gold for passage in observed.passages)


def _of_ranking(observed: Observed, figure: Callable[[Sequence[str], Mapping[str, int]], float]) -> float | None:
    """The figure; None where nothing was searched, or no document is relevant."""
    if observed.ranking is None or not relevant(observed.example):
        return None
    return figure(observed.ranking, relevance(observed.example))
