"""Token ids to text while they come: no broken characters, and stop strings found across token borders."""

from collections.abc import Callable, Sequence


class Detokeniser:
    """Feeds on token ids, gives pieces of text whose sum is the text of all ids.

    A token alone may be half a character, and some tokenizers write a token differently at the beginning of a text; so
    every piece is the difference of two decodings that begin a little earlier.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._from = 0  # decoding begins here
        self._read = 0  # up to here the text was given out

    def push(self, token_id: int) -> str:
        """The text this token completes; empty while a character is incomplete."""
        self._ids.append(token_id)
        text = self._pending()
        if not text or text.endswith("\ufffd"):
            return ""
        self._from, self._read = self._read, len(self._ids)
        return text

    def flush(self) -> str:
        """What is left, broken characters included."""
        text = self._pending()
        self._from = self._read = len(self._ids)
        return text

    def _pending(self) -> str:
        given = self._decode(self._ids[self._from : self._read])
        return self._decode(self._ids[self._from :])[len(given) :]


class StopStrings:
    """Lets text through up to the first stop string; holds back what might be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self._free = 0  # characters of the held text at which a stop string may end and not count
        self.found = False

    def push(self, text: str, counts: bool = True) -> str:
        """The text that may be shown now; after `found`, nothing. Stop strings that end where none counts are none."""
        if self.found:
            return ""
        self._held += text
        if not counts:
            self._free = len(self._held)
        # The stop string that is complete first wins, then the longest: how the text was cut must not matter.
        found = [
            (at + len(stop), at)
            for stop in self._stops
            if (at := self._held.find(stop, max(0, self._free - len(stop) + 1))) >= 0
        ]
        if found:
            self.found = True
            shown, self._held = self._held[: min(found)[1]], ""
            return shown
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        self._free = max(0, self._free - len(shown))
        return shown

    def flush(self) -> str:
        """What was held back, once it is sure that no stop string follows."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """Length of the longest beginning of `stop` that the held text ends with."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
