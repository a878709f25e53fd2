"""What metrics need, by their names."""

from collections.abc import Iterable

from eval.metrics import METRICS, Needs

SCORED: frozenset[Needs] = frozenset({"choices", "likelihood"})
"""What is had of the log-probabilities of texts that are given."""
RETRIEVED: frozenset[Needs] = frozenset({"ranking"})
"""What is had of a search alone."""


def needs(metrics: Iterable[str]) -> frozenset[Needs]:
    """What the metrics need, all together."""
    return frozenset(METRICS[name].needs for name in metrics)
