"""Scores whose truth is known, drawn by a seed, and how often statistics of them hold what they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from eval.metrics import METRICS
from eval.runfile import Item
from eval.statistics import Compared, compared, in_family, interval, paired
from eval.whole import Pair, compared_whole

Floats = NDArray[np.float64]
_ITEM = 0.3  # of the variance of an answer: how hard the item is, for every arm
TOP = 0.8  # of the questions are answered rightly by the best
LABELS = ("a", "b", "c", "d")
_TRUTH = 50_000  # items of which a true macro-F1 is computed


@dataclass(frozen=True)
class Design:
    """`clusters` documents with `each` items on average, all the same or `uneven`: lognormal, the largest ten times the
    usual one. `correlation` is that of two items of a document, in what decides an answer."""

    clusters: int
    each: int
    uneven: bool = False
    correlation: float = 0.0

    @property
    def name(self) -> str:
        """`60 x 5 uneven, correlation 0.2`."""
        return f"{self.clusters} x {self.each}{' uneven' * self.uneven}, correlation {self.correlation}"

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Items by document."""
        if not self.uneven:
            return np.full(self.clusters, self.each)
        spread = np.exp(norm.ppf((np.arange(self.clusters) + 0.5) / self.clusters))
        return np.maximum(1, np.round(spread / spread.mean() * self.each)).astype(np.int64)

    @property
    def documents(self) -> list[str]:
        """The document of each item."""
        return [str(place) for place in np.repeat(np.arange(self.clusters), self.sizes)]


Kind = Literal["right", "graded"]


def arms(chance: np.random.Generator, design: Design, shifts: Sequence[float], kind: Kind) -> Floats:
    """Paired scores of an arm a shift, shape (arms, items): an item is as hard for all, an arm knows its own documents.

    What decides is normal with variance 1: an answer is right if it and the shift are above 0; graded scores are cut to
    0 and 1, so that many lie there, as token F1 does.
    """
    places = np.repeat(np.arange(design.clusters), design.sizes)
    items, count = len(places), len(shifts)
    own = chance.standard_normal((count, design.clusters))[:, places]
    noise = chance.standard_normal((count, items))
    hard = chance.standard_normal(items)
    shared = min(_ITEM, 1 - design.correlation)
    rest = 1 - design.correlation - shared
    latent = np.sqrt(design.correlation) * own + np.sqrt(shared) * hard + np.sqrt(rest) * noise
    return score(latent + np.asarray(shifts)[:, None], kind)


def score(latent: Floats, kind: Kind) -> Floats:
    """0 or 1, or between."""
    return (latent > 0).astype(np.float64) if kind == "right" else np.clip(0.5 + 0.6 * latent, 0, 1)


def truth(shift: float, kind: Kind) -> float:
    """The mean of an arm with this shift."""
    if kind == "right":
        return float(norm.cdf(shift))
    return float(score(norm.ppf((np.arange(100_000) + 0.5) / 100_000) + shift, kind).mean())


def named(scores: Floats) -> dict[str, float]:
    """Scores by item."""
    return {f"{place:04d}": float(value) for place, value in enumerate(scores)}


def rate(replicates: int, seed: int, happens: Callable[[np.random.Generator], Sequence[bool]]) -> list[float]:
    """How often each of several things happens, in per cent."""
    chance = np.random.default_rng(seed)
    return [round(100 * float(share), 1) for share in np.mean([happens(chance) for _ in range(replicates)], axis=0)]


def coverage(design: Design, shift: float, kind: Kind, replicates: int, seed: int) -> list[float]:
    """Of one arm: by document, and as if items were independent."""
    mean, documents = truth(shift, kind), design.documents

    def happens(chance: np.random.Generator) -> list[bool]:
        values = arms(chance, design, [shift], kind)[0].tolist()
        found = [interval(values, documents), interval(values)]
        return [one is not None and one.low <= mean <= one.high for one in found]

    return rate(replicates, seed, happens)


def paired_coverage(design: Design, shifts: Sequence[float], kind: Kind, replicates: int, seed: int) -> list[float]:
    """Of the difference of two arms: by document, and as if items were independent."""
    mean = truth(shifts[0], kind) - truth(shifts[1], kind)
    clusters = dict(zip(named(np.zeros(len(design.documents))), design.documents, strict=True))

    def happens(chance: np.random.Generator) -> list[bool]:
        first, second = map(named, arms(chance, design, shifts, kind))
        found = [paired(first, second, clusters), paired(first, second)]
        return [one is not None and one.low <= mean <= one.high for one in found]

    return rate(replicates, seed, happens)


def told(design: Design, shifts: Sequence[float], kind: Kind, replicates: int, seed: int) -> tuple[list[float], float]:
    """Verdicts on every other arm over the last one. In per cent: told of the first alone, of any after Holm, of
    any without it; and the mean detectable difference of the first."""
    clusters = dict(zip(named(np.zeros(len(design.documents))), design.documents, strict=True))
    detectable = []

    def happens(chance: np.random.Generator) -> list[bool]:
        *others, base = map(named, arms(chance, design, shifts, kind))
        found = [one for other in others if (one := compared(other, base, clusters)) is not None]
        detectable.append(found[0].detectable or float("nan"))
        return [_told(found[:1]), _told(in_family(found)), _told(found)]

    return rate(replicates, seed, happens), float(np.mean(detectable))


def _told(found: Sequence[Compared]) -> bool:
    return any(one.verdict != "tie" for one in found)


def powered(design: Design, shift: float, kind: Kind, replicates: int) -> dict[str, float]:
    """How often a true difference is told that is as large as the detectable one, which depends on it a little."""
    other = shift
    for _ in range(3):
        wanted = told(design, [other, shift], kind, 400, seed=9)[1]
        other = _shift_by(shift, wanted, kind)
    (share, *_), stated = told(design, [other, shift], kind, replicates, seed=10)
    return {"told": share, "true": round(truth(other, kind) - truth(shift, kind), 4), "detectable": round(stated, 4)}


def _shift_by(shift: float, difference: float, kind: Kind) -> float:
    """The shift whose mean is so much higher."""
    low, high = shift, shift + 4
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if truth(middle, kind) - truth(shift, kind) < difference else (low, middle)
    return (low + high) / 2


def within(design: Design, count: int, tolerance: float, replicates: int, seed: int) -> tuple[float, float]:
    """Of `count` arms one answers `tolerance` less rightly, all others TOP. In per cent, of that one: shown to be
    within the tolerance of whatever scores best, and scoring best itself, by luck."""
    shifts = [float(norm.ppf(TOP - tolerance)), *[float(norm.ppf(TOP))] * (count - 1)]
    clusters = dict(zip(named(np.zeros(len(design.documents))), design.documents, strict=True))

    def happens(chance: np.random.Generator) -> list[bool]:
        scores = arms(chance, design, shifts, "right")
        best = int(scores.mean(axis=1).argmax())
        if best == 0:
            return [False, True]
        gap = paired(named(scores[0]), named(scores[best]), clusters)
        return [gap is not None and gap.low > -tolerance, False]

    shown, lucky = rate(replicates, seed, happens)
    return shown, lucky


def macro_f1(design: Design, shifts: Sequence[float], replicates: int, seed: int) -> tuple[float, float]:
    """Of the difference of two arms: how often its interval holds the truth, and how often it is told, in per cent."""
    counts = METRICS["macro_f1"].whole
    assert counts is not None
    large = Design(_TRUTH, 1)
    one, other = (_answers(np.random.default_rng(0), large, [shift])[0] for shift in shifts)
    sums = [counts.figure(counts.tally(items).sum(axis=0, keepdims=True))[0] for items in (one, other)]
    truth = float(sums[0] - sums[1]) if shifts[0] != shifts[1] else 0.0

    def happens(chance: np.random.Generator) -> list[bool]:
        first, second = _answers(chance, design, shifts)
        pairs: list[Pair] = list(zip(first, second, strict=True))
        found = compared_whole(pairs, counts)
        assert found is not None
        return [found.difference.low <= truth <= found.difference.high, found.verdict != "tie"]

    held, told = rate(replicates, seed, happens)
    return held, told


def _answers(chance: np.random.Generator, design: Design, shifts: Sequence[float]) -> list[list[Item]]:
    """Rightly, or with another label by chance; half of the items want the first label."""
    scores, documents = arms(chance, design, shifts, "right"), design.documents
    wanted = np.where(np.arange(len(documents)) % 2, np.arange(len(documents)) // 2 % len(LABELS), 0)
    found = []
    for row in scores:
        said = np.where(row > 0, wanted, (wanted + chance.integers(1, len(LABELS), len(row))) % len(LABELS))
        found.append(
            [
                Item.model_construct(
                    example=f"{place:06d}", cluster=documents[place], predicted=LABELS[label], answers=(LABELS[right],)
                )
                for place, (label, right) in enumerate(zip(said.tolist(), wanted.tolist(), strict=True))
            ]
        )
    return found
