"""Several rankings into one: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009). Plain Python."""

from collections import defaultdict
from collections.abc import Iterable

Ranking = list[tuple[int, float]]  # positions of passages with their scores, best first
CONSTANT = 60  # the paper's


def fuse(rankings: Iterable[Ranking]) -> Ranking:
    """All positions with the sum of 1 / (60 + rank) over the rankings they stand in; equal ones in order of position.

    Ranks begin at 1.
    """
    sums: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, (position, _) in enumerate(ranking, start=1):
            sums[position] += 1 / (CONSTANT + rank)
    return sorted(sums.items(), key=lambda hit: (-hit[1], hit[0]))
