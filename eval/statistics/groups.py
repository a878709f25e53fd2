"""Values in clusters: the mean over all items, and how far it may be off when items of a cluster are alike.

The mean is a ratio of sums, so a document with many questions counts for each of them. Its variance is that of Bell and
McCaffrey (2002), "CR2": squared sums of residuals by cluster, each divided by 1 - the cluster's share of the items,
which is unbiased where items are independent. Degrees of freedom are Satterthwaite's for it, under the correlation
within clusters that the values show (Imbens and Kolesár 2016). With every item its own cluster both are textbook: s²/n,
n - 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """Values by cluster: the sum, the count and the sum of squares of each, all of shape (clusters,)."""

    sums: Floats
    sizes: Floats
    squares: Floats

    @property
    def clusters(self) -> int:
        """How many there are."""
        return len(self.sizes)

    @property
    def items(self) -> int:
        """How many values there are in all."""
        return int(self.sizes.sum())

    @property
    def mean(self) -> float:
        """Over all items."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def rare(self) -> int:
        """Of shares, how many clusters hold what is rarer: more than 0, or less than 1."""
        apart = self.sums > 0 if self.mean < 0.5 else self.sums < self.sizes
        return int(apart.sum())

    @property
    def variance(self) -> float:
        """Of the mean (CR2). Needs two clusters."""
        residuals = self.sums - self.sizes * self.mean
        shares = self.sizes / self.sizes.sum()
        return float((residuals**2 / (1 - shares)).sum() / self.sizes.sum() ** 2)

    @property
    def correlation(self) -> float:
        """Of two items of a cluster, 0 to 1: the ANOVA estimator, for clusters of unequal sizes (Searle 1992, 3.6)."""
        within_freedom = self.items - self.clusters
        if within_freedom == 0 or self.clusters == 1:
            return 0.0
        within = float((self.squares - self.sums**2 / self.sizes).sum()) / within_freedom
        between = float((self.sizes * (self.sums / self.sizes - self.mean) ** 2).sum()) / (self.clusters - 1)
        usual = (self.items - float((self.sizes**2).sum()) / self.items) / (self.clusters - 1)
        shared = (between - within) / usual
        return min(1.0, max(0.0, shared / (shared + within))) if shared + within > 0 else 0.0

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance. Needs two clusters."""
        return _freedom(self.sizes, self.correlation)

    def with_half_an_item_on_either_side(self, distance: float) -> tuple[float, float]:
        """The mean, and its variance, if half an item were `distance` above 0 and half an item as much below.

        What Agresti and Min (2005) add to the four cells of right and wrong, for any values.
        """
        whole = self.sizes.sum() + 1
        mean = float(self.sums.sum() / whole)
        residuals = ((self.sums - self.sizes * mean) ** 2 / (1 - self.sizes / whole)).sum()
        return mean, float(residuals + distance**2 + mean**2) / float(whole) ** 2


def grouped(values: Sequence[float], clusters: Sequence[str] | None) -> Groups:
    """The values by cluster, clusters by name, so that the order of items changes nothing.

    None, or an empty name: the item is a cluster of its own.
    """
    known = [""] * len(values) if clusters is None else clusters
    rows = sorted(zip(known, values, strict=True))
    sample = np.asarray([value for _, value in rows], dtype=np.float64)
    starts = [place for place, (name, _) in enumerate(rows) if not name or not place or rows[place - 1][0] != name]

    def total(weights: Floats) -> Floats:
        return np.add.reduceat(weights, starts)

    return Groups(total(sample), total(np.ones(len(sample))), total(sample**2))


def _freedom(sizes: Floats, correlation: float) -> float:
    """tr(C)² / tr(C²) for C, the covariance of the scaled residuals that CR2 squares.

    C = A (W - s w' - w s' + W.. s s') A, where w are the variances of the clusters' sums, s their shares of the items
    and A = 1 / sqrt(1 - s). Written out it takes sums alone, no matrix.
    """
    shares = sizes / sizes.sum()
    w = sizes * (1 - correlation) + sizes**2 * correlation
    scale = 1 / (1 - shares)
    whole = w.sum()
    diagonal = scale * (w * (1 - 2 * shares) + shares**2 * whole)
    # off the diagonal C_gh = whole s_g s_h - s_g w_h - w_g s_h, times the roots of both scales; its squares:
    ss, sw, ww = ((scale * a * b).sum() for a, b in ((shares, shares), (shares, w), (w, w)))
    every = (whole * ss) ** 2 + 2 * ss * ww + 2 * sw**2 - 4 * whole * ss * sw
    same = (scale * (whole * shares**2 - 2 * shares * w)) ** 2
    return float(diagonal.sum() ** 2 / (every - same.sum() + (diagonal**2).sum()))
