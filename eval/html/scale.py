"""Scales: from a value to a place on an axis, with ticks at round values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MANY = 20.0  # a range wider than this factor is drawn by its logarithm


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`; `log` needs both above 0."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value stands, 0 to 1; what is outside stands at the end."""
        low, high = self._place(self.low), self._place(self.high)
        return min(1.0, max(0.0, (self._place(value) - low) / (high - low)))

    def _place(self, value: float) -> float:
        return math.log(max(value, self.low)) if self.log else value


def linear(low: float, high: float, steps: int = 5) -> Scale:
    """An axis that holds both values, its ends at ticks."""
    span = high - low or 1.0
    step = _round_step(span / steps)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Scale(first * step, last * step, tuple(place * step for place in range(first, last + 1)))


def logarithmic(low: float, high: float) -> Scale:
    """An axis of 1, 2, 5, 10 ... that holds both values, which are above 0."""
    places = [digit * 10.0**power for power in _powers(low, high) for digit in (1, 2, 5)]
    first = max(place for place in places if place <= low * (1 + 1e-9))
    last = min(place for place in places if place >= high * (1 - 1e-9) and place > first)
    return Scale(first, last, tuple(place for place in places if first <= place <= last), log=True)


def fitting(values: Sequence[float]) -> Scale:
    """Linear from zero, or logarithmic where the values are of several orders."""
    low, high = min(values), max(values)
    return logarithmic(low, high) if low > 0 and high / low > _MANY else linear(0.0, high or 1.0)


def _powers(low: float, high: float) -> range:
    return range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 2)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))
