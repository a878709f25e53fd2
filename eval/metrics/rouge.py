"""ROUGE-L: how much of an answer stands in the text in the same order, gaps allowed (Lin 2004, section 3).

As the package rouge-score computes it: words of the letters a-z and digits, no stemming, the F-measure of precision
and recall with equal weight. Letters outside a-z separate words, so it says little about other alphabets.
"""

import re
from collections.abc import Sequence

from eval.metrics.overlap import Overlap

_WORD = re.compile(r"[a-z0-9]+")


def rouge_l(text: str, answers: Sequence[str]) -> float:
    """The best ROUGE-L F-measure over the answers, 0 to 1; 0 where either has no word."""
    said = _WORD.findall(text.lower())
    return max(_f_measure(said, _WORD.findall(answer.lower())) for answer in answers)


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence: a table row is one integer, a bit a cell (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(first)) - 1
    row = whole
    for word in second:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & whole
    return len(first) - row.bit_count()


def _f_measure(found: Sequence[str], wanted: Sequence[str]) -> float:
    return Overlap(common_subsequence(found, wanted), len(found), len(wanted)).f1
