"""Which adapters are in memory, under a budget of bytes. Plain counting: no tensors, no clock.

The least recently used go first; what is pinned never does, and what the caller spares does not either.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator


class Residents:
    """Adapters by key, least recently used first."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.pinned: set[str] = set()
        self.evictions = 0
        self._bytes: OrderedDict[str, int] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        return iter(self._bytes)

    def __contains__(self, key: str) -> bool:
        return key in self._bytes

    @property
    def total(self) -> int:
        """Bytes of all."""
        return sum(self._bytes.values())

    def size(self, key: str) -> int:
        """Bytes of one, 0 if it is not in memory."""
        return self._bytes.get(key, 0)

    def free_beside_pinned(self, spared: Collection[str]) -> int:
        """Bytes there would be if everyone left who may leave: all but the pinned ones not among `spared`."""
        return self.budget - sum(size for key, size in self._bytes.items() if key in self.pinned and key not in spared)

    def add(self, key: str, size: int) -> None:
        """Note that an adapter of `size` bytes is in memory now."""
        self._bytes[key] = size

    def remove(self, key: str) -> None:
        """Note that it is no more."""
        del self._bytes[key]

    def use(self, key: str) -> None:
        """Note that it is being used now."""
        if key in self._bytes:
            self._bytes.move_to_end(key)

    def victims(self, needed: int, spared: Collection[str]) -> list[str] | None:
        """Whom to drop so that `needed` more bytes fit, nobody if they do; None if that takes more than may be dropped.

        Neither the pinned nor the `spared` may be.
        """
        over = self.total + needed - self.budget
        chosen: list[str] = []
        for key, size in self._bytes.items():
            if over <= 0:
                break
            if key not in spared and key not in self.pinned:
                chosen.append(key)
                over -= size
        return chosen if over <= 0 else None
