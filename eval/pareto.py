"""Which arms are worth a look at all: those that no other one beats at everything."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """An arm: its quality (more is better) and its costs (less is better), the same ones in the same order for all.

    A cost that is not known is None.
    """

    name: str
    quality: float
    costs: tuple[float | None, ...]


def front(points: Sequence[Point]) -> set[str]:
    """The names of the points that no other dominates: as good, as cheap in every cost, and better in one of these.

    A cost that nobody knows is no cost. One that only some know keeps those who lack it from being dominated, and from
    dominating: they may be cheaper, or not.
    """
    known = [
        place
        for place in range(max((len(point.costs) for point in points), default=0))
        if any(point.costs[place] is not None for point in points)
    ]
    return {point.name for point in points if not any(_dominates(other, point, known) for other in points)}


def _dominates(first: Point, second: Point, places: Sequence[int]) -> bool:
    costs = [(first.costs[place], second.costs[place]) for place in places]
    known = [(mine, other) for mine, other in costs if mine is not None and other is not None]
    if len(known) < len(costs) or first.quality < second.quality:
        return False
    return all(mine <= other for mine, other in known) and (
        first.quality > second.quality or any(mine < other for mine, other in known)
    )
