"""Where the tokens of a text lie, so that any span of it can be counted without asking the tokenizer again."""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

Offsets = Callable[[str], list[tuple[int, int]]]
_CHUNK = 1 << 16  # characters given to the tokenizer at once
_SPACE = re.compile(r"\s")


class Tokens:
    """The tokens of one text. A span alone may have a token or two more, where its tokenizer looks across words."""

    def __init__(self, text: str, offsets: Offsets) -> None:
        self._starts, self._ends = array("Q"), array("Q")
        start = end = 0
        for at, chunk in _chunks(text):
            for a, b in offsets(chunk):
                start, end = max(start, at + a), max(end, at + b)  # some tokens have no place of their own
                self._starts.append(start)
                self._ends.append(end)

    def count(self, start: int, end: int) -> int:
        """Tokens that lie in this span, wholly or in part."""
        return max(0, bisect_left(self._starts, end) - bisect_right(self._ends, start))

    def reach(self, start: int, tokens: int) -> int:
        """Where at most so many tokens from `start` on end; past `start` in any case."""
        after = bisect_right(self._ends, start) + tokens
        return max(start + 1, self._starts[after] if after < len(self._starts) else start + 1)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(text):
        end = len(text)
        if end - at > _CHUNK:
            space = _SPACE.search(text, at + _CHUNK, at + 2 * _CHUNK)
            end = space.start() if space else at + 2 * _CHUNK
        yield at, text[at:end]
        at = end
