"""Where names stand beside points, so that none covers another. Plain geometry, in pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

Anchor = Literal["start", "middle", "end"]
WIDE = 6.4  # pixels of a character at 12 px: an upper estimate for common fonts
HIGH = 15.0
_NEAR = 12.0
_DISTANCES = (_NEAR, 22.0, 36.0, 52.0, 70.0, 95.0, 125.0, 160.0)
_DIRECTIONS: tuple[tuple[int, int], ...] = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Whether both share more than an edge."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)

    def within(self, other: "Box") -> bool:
        """Whether it lies wholly in the other."""
        beside = self.left >= other.left and self.right <= other.right
        return beside and self.top >= other.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class Label:
    """A name, written from, around or up to `x` on the base line `y`; `led` if a line must lead to its point."""

    text: str
    x: float
    y: float
    anchor: Anchor
    led: bool
    box: Box


def placed(points: Sequence[tuple[str, float, float]], frame: Box, radius: float = 7.0) -> list[Label | None]:
    """A label for each (name, x, y), in their order: the first come stand nearest. None where no place is free."""
    taken = [Box(x - radius, y - radius, x + radius, y + radius) for _, x, y in points]
    found: list[Label | None] = []
    for text, x, y in points:
        free = (label for label in _places(text, x, y) if label.box.within(frame))
        label = next((label for label in free if not any(label.box.overlaps(box) for box in taken)), None)
        if label:
            taken.append(label.box)
        found.append(label)
    return found


def _places(text: str, x: float, y: float) -> Iterator[Label]:
    """Around the point, near ones first."""
    width = WIDE * len(text)
    for distance, (right, down) in product(_DISTANCES, _DIRECTIONS):
        anchor: Anchor = "start" if right > 0 else "end" if right < 0 else "middle"
        at, middle = x + right * distance, y + down * (distance + HIGH / 2 if right == 0 else distance)
        left = at if right > 0 else at - width if right < 0 else at - width / 2
        box = Box(left, middle - HIGH / 2, left + width, middle + HIGH / 2)
        yield Label(text, at, middle + 4, anchor, distance > _NEAR, box)
