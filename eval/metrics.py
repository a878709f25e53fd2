"""Scores of one answer against the accepted answers, each between 0 and 1. Plain Python.

Normalisation, exact match and token F1 are those of the official SQuAD v1.1 script (Rajpurkar et al. 2016).
"""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
Metric = Callable[[str, Sequence[str]], float]


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, answers: Sequence[str]) -> float:
    """1 if the text is one of the answers, both normalised."""
    return float(any(normalise(text) == normalise(answer) for answer in answers))


def token_f1(text: str, answers: Sequence[str]) -> float:
    """The best F1 over the words shared with one of the answers."""
    return max(_f1(normalise(text).split(), normalise(answer).split()) for answer in answers)


def containment(text: str, answers: Sequence[str]) -> float:
    """1 if one of the answers stands in the text as consecutive words."""
    words = f" {normalise(text)} "
    return float(any(f" {normalise(answer)} " in words for answer in answers if normalise(answer)))


def field_f1(text: str, answers: Sequence[str]) -> float:
    """F1 over the fields of a JSON object: a field counts if key and value agree; empty values are no fields.

    The first object in the text is read; without one, no field is found.
    """
    found = first_object(text) or {}
    return max(_f1(_fields(found), _fields(first_object(answer) or {})) for answer in answers)


def valid_json(text: str, _answers: Sequence[str]) -> float:
    """1 if the text holds a JSON object."""
    return float(first_object(text) is not None)


METRICS: dict[str, Metric] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "containment": containment,
    "field_f1": field_f1,
    "valid_json": valid_json,
}


def first_object(text: str) -> dict[str, object] | None:
    """The first JSON object in `text`, or None."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def _fields(found: dict[str, object]) -> list[tuple[str, str]]:
    pairs = ((key.strip().lower(), " ".join(str(value).lower().split())) for key, value in found.items())
    return [(key, value) for key, value in pairs if value and value != "none"]


def _f1(found: Sequence[object], wanted: Sequence[object]) -> float:
    if not found or not wanted:
        return float(list(found) == list(wanted))
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))
