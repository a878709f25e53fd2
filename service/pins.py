"""Who still needs which version: what keeps a deleted one there until the last request that found it is done with it.

A request holds the versions of its mode from the moment it has found them until the engine has admitted it; from then
on the engine itself lets no adapter go that is in use. Whoever deletes takes the rows away first, so that nobody new
finds the version, and then waits for those who hold it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ragtune.versions import Version


class Pins:
    """Counts of holders by key. Belongs to the event loop: finding and holding have no await between them."""

    def __init__(self) -> None:
        self._holders: Counter[str] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    @contextmanager
    def hold(self, keys: Sequence[str]) -> Iterator[None]:
        """Hold all `keys` while the context is open."""
        self._holders.update(keys)
        try:
            yield
        finally:
            self._holders.subtract(keys)
            self._holders = +self._holders  # drops those that nobody holds
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_result(None)
            self._waiting.clear()

    async def released(self, keys: Sequence[str]) -> None:
        """Returns once nobody holds any of `keys`."""
        while any(self._holders[key] for key in keys):
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(change)
            await change


def pin(version: Version[Any]) -> str:
    """The key of a version: kinds have names of their own."""
    return f"{version.kind}:{version}"
