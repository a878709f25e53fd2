"""Differences of figures that are of all items at once, like macro-F1: no item has one, so arms are swapped instead.

Approximate randomisation (Yeh 2000): if two arms are alike, their answers to any document may be swapped. p is mid-p of
SWAPS seeded swaps, the one at hand counted as one of them; the interval is the bootstrap's over documents.
"""

from collections.abc import Callable, Sequence

import numpy as np

from eval.runfile import Item
from eval.statistics import Compared, Interval, resampled
from eval.statistics.compared import told

SWAPS = 1_000
_ALPHA = 0.05
_SAME = 1e-9
_POWER, _LEVEL = 0.8416, 1.96  # quantiles of the normal distribution for a power of 80 % and two-sided 5 %

Pair = tuple[Item, Item]
Figure = Callable[[Sequence[Item]], float | None]


def compared_whole(pairs: Sequence[Pair], figure: Figure, sign: float = 1.0, matters: float = 0.0) -> Compared | None:
    """The figure of the first of each pair minus that of the second, times `sign`; None if either has none."""
    clusters = [item.cluster or item.example for item, _ in pairs]

    def difference(drawn: Sequence[Pair]) -> float | None:
        one, other = figure([mine for mine, _ in drawn]), figure([theirs for _, theirs in drawn])
        return None if one is None or other is None else sign * (one - other)

    found = resampled(pairs, difference, clusters)
    if found is None:
        return None
    found = found.model_copy(update={"n": len({item.example for item, _ in pairs})})
    p = _swapped(pairs, difference, clusters)
    bare = Compared(
        difference=found,
        p=p,
        adjusted=p,
        test="sign-flip permutation",
        detectable=(_LEVEL + _POWER) * _error(found),
        matters=matters,
        more_items=None,
        verdict="tie",
    )
    return told(bare, p, _ALPHA)


def _swapped(
    pairs: Sequence[Pair], difference: Callable[[Sequence[Pair]], float | None], clusters: Sequence[str]
) -> float:
    names, places = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    swaps = np.random.default_rng(0).integers(0, 2, (SWAPS, len(names)), dtype=np.bool_)[:, places]
    observed = abs(difference(pairs) or 0.0)
    drawn = [
        abs(difference([(pair[1], pair[0]) if turn else pair for pair, turn in zip(pairs, row, strict=True)]) or 0.0)
        for row in swaps
    ]
    further = sum(value > observed + _SAME for value in drawn)
    alike = 1 + sum(abs(value - observed) <= _SAME for value in drawn)
    return (further + alike / 2) / (SWAPS + 1)


def _error(found: Interval) -> float:
    return (found.high - found.low) / 2 / _LEVEL
