"""Ranking metrics: by hand, and against what NIST's trec_eval prints for its own sample."""

from collections import defaultdict
from math import log2
from pathlib import Path
from statistics import mean

import pytest

from eval.ranking import in_order, ndcg, recall, reciprocal_rank

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "trec_eval"
GAINS = {"a": 2, "b": 1, "c": 0, "d": -1, "e": 1}


def test_ndcg_is_the_gain_over_that_of_the_best_order() -> None:
    assert ndcg(["a", "b", "e"], GAINS, 10) == 1.0
    assert ndcg(["c", "b", "x", "a"], GAINS, 3) == pytest.approx((1 / log2(3)) / (2 + 1 / log2(3) + 1 / 2))
    assert ndcg(["d", "a"], {"a": 1, "d": -1}, 10) == pytest.approx(1 / log2(3))  # a negative gain counts as none


def test_the_first_relevant_document_gives_the_reciprocal_rank() -> None:
    assert reciprocal_rank(["c", "d", "e", "a"], GAINS, 10) == 1 / 3
    assert reciprocal_rank(["c", "d", "e"], GAINS, 2) == 0.0


def test_recall_is_the_share_of_the_relevant_that_was_found() -> None:
    assert recall(["a", "c", "e", "b"], GAINS, 3) == 2 / 3


def test_a_query_without_a_relevant_document_scores_nothing() -> None:
    assert [metric(["a"], {"a": 0}, 10) for metric in (ndcg, reciprocal_rank, recall)] == [0.0, 0.0, 0.0]
    assert [metric([], GAINS, 10) for metric in (ndcg, reciprocal_rank, recall)] == [0.0, 0.0, 0.0]


def test_equal_scores_are_ordered_as_trec_eval_does() -> None:
    assert in_order({"a": 1.0, "c": 1.0, "b": 2.0}) == ["b", "c", "a"]


@pytest.mark.data
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no ../shared/reference/trec_eval beside this checkout")
def test_the_figures_are_those_trec_eval_prints() -> None:
    gains: dict[str, dict[str, int]] = defaultdict(dict)
    for query, _, document, gain in _lines("qrels.txt"):
        gains[query][document] = int(gain)
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for query, _, document, _, score, _ in _lines("run.txt"):
        scores[query][document] = float(score)
    expected = {name: value for name, _, value in _lines("expected-all.txt")}
    rankings = {query: in_order(found) for query, found in scores.items()}
    ours = {f"ndcg_cut_{cut}": mean(ndcg(rankings[q], gains[q], cut) for q in scores) for cut in (5, 10, 100, 1000)}
    ours |= {f"recall_{cut}": mean(recall(rankings[q], gains[q], cut) for q in scores) for cut in (5, 10, 100, 1000)}
    ours["recip_rank"] = mean(reciprocal_rank(rankings[q], gains[q], 1000) for q in scores)
    assert ours == {name: pytest.approx(float(expected[name]), abs=1e-4) for name in ours}


def _lines(name: str) -> list[list[str]]:
    return [line.split() for line in (REFERENCE / name).read_text().splitlines()]
