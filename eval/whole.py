"""Differences of figures that are of all items at once, like macro-F1: no item has one, so arms are swapped instead.

Approximate randomisation (Yeh 2000): if two arms are alike, their answers to any document may be swapped. p is mid-p of
SWAPS seeded swaps, the one at hand counted as one of them; the interval is the bootstrap's over documents.
"""

from collections.abc import Sequence

import numpy as np

from eval.metrics.metric import Counts
from eval.runfile import Item
from eval.statistics import Compared, Interval, resampled, resampled_difference
from eval.statistics.compared import told
from eval.statistics.groups import Floats
from eval.statistics.resampling import Figure, by_cluster

SWAPS = 1_000
_ALPHA = 0.05
_SAME = 1e-9

Pair = tuple[Item, Item]


def score_whole(items: Sequence[Item], counts: Counts) -> Interval | None:
    """The figure of all items with its clustered interval; `n` are examples."""
    if not items:
        return None
    found = resampled(counts.tally(items), counts.figure, [item.cluster or item.example for item in items])
    return found and found.model_copy(update={"n": len({item.example for item in items})})


def figure_of(items: Sequence[Item], counts: Counts) -> float | None:
    """The figure of all items; None if they have none."""
    if not items:
        return None
    found = float(counts.figure(counts.tally(items).sum(axis=0, keepdims=True))[0])
    return None if np.isnan(found) else found


def compared_whole(pairs: Sequence[Pair], counts: Counts, sign: float = 1.0, matters: float = 0.0) -> Compared | None:
    """The figure of the first of each pair minus that of the second, times `sign`; None if either has none."""
    if not pairs:
        return None
    tallies, clusters = _by_example(pairs, counts)
    half = tallies.shape[1] // 2

    def difference(sums: Floats) -> Floats:
        return sign * (counts.figure(sums[:, :half]) - counts.figure(sums[:, half:]))

    found = resampled_difference(tallies, difference, clusters)
    if found is None:
        return None
    p = _swapped(by_cluster(tallies, clusters), difference)
    bare = Compared(
        difference=found[0],
        p=p,
        adjusted=p,
        test="sign-flip permutation",
        error=found[1],
        freedom=max(1, found[0].clusters - 1),
        shares=True,
        matters=matters,
    )
    return told(bare, p, _ALPHA)


def _by_example(pairs: Sequence[Pair], counts: Counts) -> tuple[Floats, list[str]]:
    """The counts of the first and of the second arm side by side, one row an example, and the examples' clusters."""
    both = counts.tally([item for side in zip(*pairs, strict=True) for item in side])
    beside = np.concatenate([both[: len(pairs)], both[len(pairs) :]], axis=1)
    examples = {item.example: item.cluster or item.example for item, _ in pairs}
    places = {example: place for place, example in enumerate(examples)}
    sums = np.zeros((len(examples), beside.shape[1]))
    np.add.at(sums, [places[item.example] for item, _ in pairs], beside)
    return sums, list(examples.values())


def _swapped(groups: Floats, difference: Figure) -> float:
    """`groups` are counts of the first arm and of the second, one row a document; documents are swapped as a whole."""
    half = groups.shape[1] // 2
    turned = np.concatenate([groups[:, half:], groups[:, :half]], axis=1)
    swaps = np.random.default_rng(0).integers(0, 2, (SWAPS, len(groups)))
    observed = abs(float(difference(groups.sum(axis=0, keepdims=True))[0]))
    drawn = np.nan_to_num(np.abs(difference(swaps @ turned + (1 - swaps) @ groups)))
    further = int((drawn > observed + _SAME).sum())
    alike = 1 + int((np.abs(drawn - observed) <= _SAME).sum())
    return 1.0 if alike == SWAPS + 1 and observed <= _SAME else (further + alike / 2) / (SWAPS + 1)
