"""A metric: a score of one answer, and what it takes to have it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eval.observed import Observed

if TYPE_CHECKING:  # a run file holds a suite, and a suite names metrics
    from eval.runfile import Item

Floats = NDArray[np.float64]
Needs = Literal["text", "json", "labels", "passages", "ranking", "choices", "likelihood", "embedding", "judge"]


def _anything(_observed: Observed) -> bool:
    return True


@dataclass(frozen=True)
class Counts:
    """A figure of all items as one of sums over them, so that it can be had of many drawn sets at once.

    `tally` gives the counts of each item, shape (items, counts); `figure` of sums of these, shape (sets, counts), the
    figure of each set, NaN for a set that has none.
    """

    tally: Callable[[Sequence["Item"]], Floats]
    figure: Callable[[Floats], Floats]


@dataclass(frozen=True)
class Metric:
    """How one answer is scored.

    `score` gives None where the metric cannot be had of this item, which is no zero. `reads` says whether the text
    holds what the metric reads, a number say; a text that does not is wrong, and told of apart as unparsable. Shares
    are 0 to 1, nats are shown as the perplexity exp(mean). Where a figure is of all items at once it is `whole`; the
    `score` of an item then only says which items it is made of, and their mean is another figure.
    """

    name: str
    needs: Needs
    score: Callable[[Observed], float | None]
    about: str
    unit: Literal["share", "nats"] = "share"
    lower_is_better: bool = False
    whole: Counts | None = None
    reads: Callable[[Observed], bool] = _anything
