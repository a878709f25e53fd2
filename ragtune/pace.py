"""How fast something goes, and for how long it will: a plain function of what it is told, with no clock of its own."""

from collections import deque

_WINDOW = (
    10.0  # seconds; long enough that one slow batch does not make the end jump, short enough to follow the machine
)


class Pace:
    """Units a second over the recent past."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def at(self, now: float, done: int) -> float | None:
        """The rate when `done` units are done at the second `now`; None while there is nothing to compare with."""
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        return (done - before) / (now - since) if now > since and done >= before else None


def seconds_left(done: int, total: int | None, rate: float | None) -> float | None:
    """How long the rest takes at this rate; None if nobody can know."""
    if total is None or not rate:
        return None
    return max(total - done, 0) / rate
