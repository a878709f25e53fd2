"""Could the difference be chance? Tests of paired differences, two-sided, by mid-p.

If two arms are alike, each difference is as likely to have the other sign. Items of a cluster stand or fall together,
so the sums of clusters are turned round, never single items. For right or wrong answers and independent items this is
McNemar's test, whose distribution is a binomial and needs no drawing.

Mid-p (Lancaster 1961) counts results that are exactly as far out as the one at hand by half. Scores are coarse and such
ties frequent; counting them whole makes a test that errs far less than 5 % of the time, and so finds less. Fagerland,
Lydersen and Laake (2013) recommend it for McNemar's.
"""

from typing import Literal

import numpy as np
from scipy.special import bdtr

from eval.statistics.groups import Floats

FLIPS = 10_000
_AT_ONCE = 500  # flips held in memory
_EXACT = 13  # clusters that differ: up to 2**13 = 8,192 ways to turn them round, all of them are counted
_SAME = 1e-9  # sums that differ by less, as a share of the largest possible one, are equal but for rounding

Test = Literal["mid-p McNemar", "sign-flip permutation"]


def mcnemar(better: int, worse: int) -> float:
    """The p of so many items on which only the first arm was right, and so many on which only the second was.

    2 P(X < m) + P(X = m), m the smaller of both and X binomial; 1 if no item differs (Fagerland et al. 2013, eq. 5).
    """
    if better + worse == 0:
        return 1.0
    least, n = min(better, worse), better + worse
    upto = float(bdtr(least, n, 0.5))
    below = float(bdtr(least - 1, n, 0.5)) if least else 0.0
    return upto + below if better != worse else 1 - (upto - below) / 2


def sign_flip(sums: Floats, seed: int) -> float:
    """The p of the sum of these sums, shape (clusters,): exact where few differ from 0, else of FLIPS seeded flips.

    The observed signs count as one of the drawn, so no p is 0 (Phipson and Smyth 2010).
    """
    moved = sums[sums != 0]
    if len(moved) == 0:
        return 1.0
    flipped = np.abs(_all_signs(len(moved)) @ moved if len(moved) <= _EXACT else _drawn(moved, seed))
    observed = abs(moved.sum())
    margin = _SAME * np.abs(moved).sum()
    further = int((flipped > observed + margin).sum())
    alike = int((np.abs(flipped - observed) <= margin).sum())
    return (further + alike / 2) / len(flipped)


def _all_signs(count: int) -> Floats:
    """Every way to give `count` numbers a sign: shape (2**count, count)."""
    bits = np.arange(2**count)[:, None] >> np.arange(count)
    return np.where(bits & 1, -1.0, 1.0).astype(np.float64)


def _drawn(moved: Floats, seed: int) -> Floats:
    """FLIPS sums with signs by chance, after the sum as it is: shape (FLIPS + 1,)."""
    chance, width = np.random.default_rng(seed), -(-len(moved) // 8)
    found = [np.asarray([moved.sum()])]
    for _ in range(0, FLIPS, _AT_ONCE):
        drawn = np.frombuffer(chance.bytes(_AT_ONCE * width), dtype=np.uint8).reshape(_AT_ONCE, width)
        bits = np.unpackbits(drawn, axis=1, count=len(moved)).astype(np.float64)
        found.append(moved.sum() - 2 * (bits @ moved))
    return np.concatenate(found)
