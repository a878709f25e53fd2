"""The last exchanges, in memory alone, so that whoever was answered may say what he thinks of it.

Nothing of them is written down, and all are forgotten when the service ends.
"""

from collections import deque
from collections.abc import Sequence

from ragtune.feedback import Exchange


class Exchanges:
    """Up to `most` exchanges; the oldest leave first. For one thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: deque[Exchange] = deque(maxlen=most)

    def keep(self, exchanges: Sequence[Exchange]) -> None:
        """Those of one request, in the order of its answers."""
        self._kept.extend(exchanges)

    def answer(self, answer: str, tenant: str) -> Exchange | None:
        """The one whose answer has this id, if it was given to this tenant."""
        own = (each for each in reversed(self._kept) if each.id == answer and each.tenant == tenant)
        return next(own, None)

    def request(self, request: str, tenant: str) -> list[Exchange]:
        """Those of the last request of this tenant with this id, in order; ids may be the client's own, used again."""
        found: list[Exchange] = []
        for each in reversed(self._kept):
            if (each.request_id, each.tenant) == (request, tenant):
                found.append(each)
                if each.choice == 0:
                    break
        return found[::-1]
