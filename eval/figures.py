"""How figures are written: one place, so that a terminal, a page and a sentence never differ."""

import math

from eval.metrics import METRICS
from eval.statistics import Interval

PRACTICAL = 20_000  # questions; more are asked by nobody, and not counted
NOTHING = "–"


def metric_words(metric: str) -> str:
    """A metric's name as people write it."""
    return metric.replace("_", " ").replace(" f1", " F1").replace("json", "JSON")


def figure(metric: str, value: float) -> str:
    """A share as points; nats a token as the perplexity."""
    return f"{math.exp(value):.1f}" if METRICS[metric].unit == "nats" else f"{100 * value:.0f}"


def range_of(metric: str, found: Interval) -> str:
    """The interval in square brackets."""
    return f"[{figure(metric, found.low)}, {figure(metric, found.high)}]"


def difference(metric: str, value: float) -> str:
    """A signed difference, in points or in nats a token."""
    return f"{value:+.2f}" if METRICS[metric].unit == "nats" else f"{100 * value:+.1f}"


def difference_range(metric: str, found: Interval) -> str:
    """The interval of a difference in square brackets."""
    return f"[{difference(metric, found.low)}, {difference(metric, found.high)}]"


def percent(found: Interval | None) -> str:
    """A share in per cent, without its interval."""
    return NOTHING if found is None else f"{100 * found.mean:.0f} %"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes in decimal units: `820 B`, `4.2 MB`."""
    power = next((power for power in (4, 3, 2, 1) if count >= 1000**power), 0)
    value, unit = count / 1000**power, ("B", "kB", "MB", "GB", "TB")[power]
    return f"{value:.0f} {unit}" if power == 0 or value >= 100 else f"{value:.1f} {unit}"


def money(price: float) -> str:
    """A price with two significant figures below ten; the currency is the reader's own."""
    return f"{price:.2f}" if price >= 1 or price == 0 else f"{price:.2g}"


def pvalue(p: float) -> str:
    """`0.03`; `< 0.001` where it is smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
