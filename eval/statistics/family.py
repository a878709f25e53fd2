"""Many comparisons at once: one in twenty would be told by chance, so each must be told more clearly."""

from collections.abc import Sequence

from eval.statistics.compared import Compared, told


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p of each, in the same order (Holm 1979).

    Where nothing is different, the chance that any of them is below 5 % is 5 % at most. The smallest p is multiplied by
    their number, the next by one less, and none may be below one before it.
    """
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    adjusted = [1.0] * len(ps)
    least = 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted


def in_family(found: Sequence[Compared], alpha: float = 0.05) -> list[Compared]:
    """The same comparisons, told as members of one family: `adjusted` is Holm's, and the verdict by it.

    What they could have found is stated for the level that Holm asks of the clearest of them: a little too much.
    """
    adjusted = holm([one.p for one in found])
    return [told(one, p, alpha, len(found)) for one, p in zip(found, adjusted, strict=True)]
