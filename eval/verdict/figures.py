"""Figures as people read them."""

from eval.statistics import Interval


def points(share: float) -> str:
    """A share in points, hundredths: `9`, or `0.4` where that would be nothing."""
    value = 100 * abs(share)
    rounded = f"{value:.0f}" if value >= 0.95 or value == 0 else f"{value:.1f}"
    return f"{rounded} point" + ("" if rounded == "1" else "s")


def bounds(found: Interval) -> str:
    """The ends of an interval, in points: `[5, 13]`."""
    return f"[{_end(found.low)}, {_end(found.high)}]"


def turned(found: Interval) -> Interval:
    """The interval of the difference the other way round."""
    return found.model_copy(update={"mean": -found.mean, "low": -found.high, "high": -found.low})


def milliseconds(value: float) -> str:
    """`850 ms`, or `2.4 s` from a second on."""
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def seconds(value: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def memory(value: float) -> str:
    """`3.2 MB` or `1.5 GB`, powers of ten."""
    return f"{value / 1e6:.1f} MB" if value < 1e9 else f"{value / 1e9:.1f} GB"


def money(value: float) -> str:
    """Two digits behind the point, or as many as it takes to tell it from nothing."""
    return f"{value:.2f}" if value >= 0.01 or value == 0 else f"{value:.2g}"


def about(count: float) -> str:
    """A large number with two digits that count: `120,000`."""
    if count < 100:
        return f"{max(1, round(count))}" if count >= 0.95 else f"{count:.1g}"
    digits = len(str(int(count))) - 2
    return f"{round(count, -digits):,.0f}"


def _end(share: float) -> str:
    value = 100 * share
    return f"{value:.0f}".replace("-0", "0") if abs(value) >= 0.95 or abs(value) < 0.05 else f"{value:.1f}"
