"""The words of a text against those of the accepted answers, each between 0 and 1; the best answer counts.

Normalisation, exact match and token F1 are those of the official SQuAD v1.1 script (Rajpurkar et al. 2016).
"""

import re
import string
from collections.abc import Sequence

from eval.metrics.overlap import Overlap

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, answers: Sequence[str]) -> float:
    """1 if the text is one of the answers, both normalised."""
    return float(any(normalise(text) == normalise(answer) for answer in answers))


def token_f1(text: str, answers: Sequence[str]) -> float:
    """The best F1 over the words shared with one of the answers; 0 where nothing is left to share."""
    words = normalise(text).split()
    return max(Overlap.between(words, normalise(answer).split()).f1 for answer in answers)


def containment(text: str, answers: Sequence[str]) -> float:
    """1 if one of the answers stands in the text as consecutive words, both normalised."""
    words = f" {normalise(text)} "
    return float(any(f" {normalise(answer)} " in words for answer in answers if normalise(answer)))
