"""From a query to ranked positions: the legs, their fusion, the reranker, the minimum score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from indexer.contents import Contents
from indexer.embedding import Vectors
from indexer.fusion import fuse
from indexer.lexical import best
from indexer.search import Search
from indexer.visibility import Visible

FUSED_DEPTH = 100  # passages each leg hands to the fusion, unless more are asked for
RERANKED = 30  # passages a reranker reads, unless more are asked for
Rerank = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Hit:
    """A passage's position, the score that ranks it, and the score of each leg that has one for it."""

    position: int
    score: float
    scores: dict[str, float]


def rank(
    search: Search, contents: Contents, visible: Visible, vector: Vectors | None, rerank: Rerank | None
) -> list[Hit]:
    """At most `search.top_k` visible passages, best first; equal ones in order of position.

    `vector` is the query's, of length 1; only a lexical search does without. `rerank` gives each text its score.
    """
    depth = max(search.top_k, RERANKED) if rerank else search.top_k
    hits = _ranked(search, contents, visible, vector, depth)
    hits = [hit for hit in hits if visible.mask[hit.position]]  # the legs saw to it; a leak would be worse than a look
    if rerank:
        hits = _reranked(hits[:depth], search.query, contents, rerank)
    return [hit for hit in hits if _enough(hit, search, rerank is not None)][: search.top_k]


def _ranked(search: Search, contents: Contents, visible: Visible, vector: Vectors | None, depth: int) -> list[Hit]:
    if search.method == "lexical":
        found = best(contents.lexical.scores(search.query), depth, visible)
        return [Hit(position, score, {"lexical": score}) for position, score in found]
    if vector is None:
        raise ValueError(f"a {search.method} search needs the query's vector")
    if search.method == "dense":
        found = contents.dense.nearest(vector, depth, visible)
        return [Hit(position, score, {"dense": score}) for position, score in found]
    return _hybrid(search.query, contents, visible, vector, max(depth, FUSED_DEPTH))


def _hybrid(query: str, contents: Contents, visible: Visible, vector: Vectors, depth: int) -> list[Hit]:
    """Both legs, fused. Every hit gets its cosine, also where only the words found it: `min_score` compares that."""
    words = contents.lexical.scores(query)
    fused = fuse([contents.dense.nearest(vector, depth, visible), best(words, depth, visible)])
    cosines = contents.dense.cosines(vector, [position for position, _ in fused])
    hits = []
    for position, score in fused:
        scores: dict[str, float] = {"dense": cosines[position], "fused": score}
        if words[position] > 0:
            scores["lexical"] = float(words[position])
        hits.append(Hit(position, score, scores))
    return hits


def _reranked(hits: Sequence[Hit], query: str, contents: Contents, rerank: Rerank) -> list[Hit]:
    given = rerank(query, [contents.record(hit.position).searched_text for hit in hits])
    scored = [
        replace(hit, score=score, scores={**hit.scores, "rerank": score})
        for hit, score in zip(hits, given, strict=True)
    ]
    return sorted(scored, key=lambda hit: (-hit.score, hit.position))


def _enough(hit: Hit, search: Search, reranked: bool) -> bool:
    if search.min_score is None:
        return True
    compared = "rerank" if reranked else "lexical" if search.method == "lexical" else "dense"
    return hit.scores[compared] >= search.min_score
