"""The words of a text against those of the accepted answers, each between 0 and 1; the best answer counts.

Normalisation, exact match and token F1 are those of the official SQuAD v1.1 script (Rajpurkar et al. 2016), but for
answers of which it leaves nothing: one like the letter A is compared with its article, one of punctuation matches
nothing.
"""

import re
import string
from collections.abc import Sequence

from eval.metrics.overlap import Overlap

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", _with_articles(text)).split())


def exact_match(text: str, answers: Sequence[str]) -> float:
    """1 if the text is one of the answers, both normalised."""
    return float(any(_is(text, answer) for answer in answers))


def token_f1(text: str, answers: Sequence[str]) -> float:
    """The best F1 over the words shared with one of the answers; of one that is an article, whether the text is it."""
    words = normalise(text).split()
    return max(
        Overlap.between(words, wanted).f1 if (wanted := normalise(answer).split()) else float(_is(text, answer))
        for answer in answers
    )


def containment(text: str, answers: Sequence[str]) -> float:
    """1 if one of the answers stands in the text as consecutive words, both normalised; of one that is an article, if
    the text is it."""
    words = f" {normalise(text)} "
    return float(
        any(f" {normalise(answer)} " in words if normalise(answer) else _is(text, answer) for answer in answers)
    )


def _is(text: str, answer: str) -> bool:
    if wanted := normalise(answer):
        return normalise(text) == wanted
    return _with_articles(text) == _with_articles(answer) != ""


def _with_articles(text: str) -> str:
    return " ".join(text.lower().translate(_PUNCTUATION).split())
