"""Numbers in texts: the last one is the answer.

English notation: a comma groups thousands (so do an apostrophe and a narrow or no-break space), a point begins the
decimals. A sign and a currency may stand before, a unit after. What follows a letter is part of a name (`KX12`), and a
hyphen after a word or a digit is no minus (`10-12`). Words such as "three" or "million" are not read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, isfinite

_NUMBER = re.compile(
    r"(?<!\w)(?<!\w\.)(?P<sign>[-−–+]?)[$€£¥₹]?(?P<inner>[-−–+]?)"
    r"(?P<digits>(?:[0-9]{1,3}(?:[,'’\u00a0\u202f][0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\.)\.[0-9]+)"
    r"(?P<exponent>(?:[eE][-+]?[0-9]{1,3}(?!\w))?)\s?(?P<percent>%|per ?cent\b)?"
)
_GROUPING = str.maketrans("", "", ",'’\u00a0\u202f")
_TOLERANCE = 1e-6  # relative


@dataclass(frozen=True)
class Number:
    """A number as it is written; 45 with `percent` may mean 0.45."""

    value: float
    percent: bool = False

    def equals(self, other: "Number") -> bool:
        """Whether both are the same, within a millionth. A per cent sign on one side only may be meant on the other,
        or stand for hundredths there: 45 % is 45 and 0.45."""
        if self.percent == other.percent:
            return _close(self.value, other.value)
        marked, bare = (self, other) if self.percent else (other, self)
        return _close(marked.value, bare.value) or _close(marked.value / 100, bare.value)


def last_number(text: str) -> Number | None:
    """The last number in the text, or None. What is too large for a float is none."""
    found = [number for match in _NUMBER.finditer(text) if isfinite((number := _read(match)).value)]
    return found[-1] if found else None


def numeric_match(text: str, answers: Sequence[str]) -> float | None:
    """1 if the last number in the text is that of one of the answers; 0 also where the text has none.

    None if no answer has a number.
    """
    wanted = [number for answer in answers if (number := last_number(answer)) is not None]
    if not wanted:
        return None
    said = last_number(text)
    return float(said is not None and any(said.equals(number) for number in wanted))


def _read(match: re.Match[str]) -> Number:
    signs = match["sign"] + match["inner"]
    value = float(match["digits"].translate(_GROUPING) + match["exponent"])
    return Number(-value if any(minus in signs for minus in "-−–") else value, bool(match["percent"]))


def _close(first: float, second: float) -> bool:
    return isclose(first, second, rel_tol=_TOLERANCE)
