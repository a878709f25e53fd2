"""Repeats: how much of the spread is between items, and how much between seeds within an item.

A repeat is no new item. Its scores are averaged within the item before anything is compared, and the split says whether
more seeds or more items would narrow the result.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict


class Split(BaseModel):
    """Variances of one answer's score, and the standard error of the mean over all.

    `seeds` is the mean number of repeats an item. `with_twice_the_seeds` and `with_twice_the_items` are the standard
    errors that these would leave, items taken as independent.
    """

    model_config = ConfigDict(frozen=True)

    between_items: float
    within_items: float
    items: int
    seeds: float
    error: float
    with_twice_the_seeds: float
    with_twice_the_items: float

    @property
    def share_of_seeds(self) -> float:
        """Of the variance of one answer, 0 to 1; 0 where nothing varies."""
        whole = self.between_items + self.within_items
        return self.within_items / whole if whole else 0.0


def averaged(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """By item the mean over its repeats; an item without any is left out."""
    return {item: float(np.mean(scores)) for item, scores in values.items() if scores}


def split(values: Mapping[str, Sequence[float]]) -> Split | None:
    """The variance components of scores by item, one a repeat: the ANOVA estimator, for unequal numbers of repeats
    (Searle, Casella and McCulloch 1992, 3.6). A component below 0 is given as 0.

    None if fewer than two items, or none that was repeated.
    """
    groups = [np.sort(np.asarray(values[item], dtype=np.float64)) for item in sorted(values) if values[item]]
    count, sizes = len(groups), np.asarray([len(group) for group in groups], dtype=np.float64)
    if count < 2 or sizes.sum() == count:
        return None
    means = np.asarray([group.mean() for group in groups])
    grand = float((sizes * means).sum() / sizes.sum())
    within = float(sum(((group - group.mean()) ** 2).sum() for group in groups)) / (sizes.sum() - count)
    among = float((sizes * (means - grand) ** 2).sum()) / (count - 1)
    usual = float(sizes.sum() - (sizes**2).sum() / sizes.sum()) / (count - 1)
    between = max(0.0, (among - within) / usual)
    inverse = float((1 / sizes).mean())  # of the number of seeds, as it stands in the variance of a mean of means

    def error(items: float, seeds: float) -> float:
        return math.sqrt((between + within * inverse / seeds) / items)

    return Split(
        between_items=between,
        within_items=float(within),
        items=count,
        seeds=float(sizes.mean()),
        error=error(count, 1),
        with_twice_the_seeds=error(count, 2),
        with_twice_the_items=error(2 * count, 1),
    )
