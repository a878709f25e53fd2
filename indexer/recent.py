"""What was used recently, up to a number of things. Safe to use from several threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Recent(Generic[K, T]):
    """Keeps what `make` made for the `most` keys last asked for; the least recently used leave."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()  # never held while something is made
        self._kept: OrderedDict[K, T] = OrderedDict()

    def get(self, key: K, make: Callable[[], T]) -> T:
        """What is kept for `key`, made if nothing is. Two threads that ask at once may both make it; one is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            kept = self._kept.setdefault(key, made)
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return kept

    def forget(self, key: K) -> None:
        """Drop it, if it is kept."""
        with self._lock:
            self._kept.pop(key, None)
