"""Scores of one answer against the accepted answers, each between 0 and 1. Plain Python.

Normalisation, exact match and token F1 are those of the official SQuAD v1.1 script (Rajpurkar et al. 2016).
"""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
REFUSALS = (
    "not in the documents",
    "not in the passages",
    "I do not know",
    "I don't know",
    "is unknown",
    "not mentioned",
    "not specified",
    "not stated",
    "not provided",
    "no information",
    "not enough information",
    "does not mention",
    "do not mention",
    "does not say",
    "do not say",
    "does not state",
    "does not specify",
    "does not provide",
    "cannot be determined",
    "cannot answer",
    "can't answer",
    "unanswerable",
)
Metric = Callable[[str, Sequence[str]], float]


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, answers: Sequence[str]) -> float:
    """1 if the text is one of the answers, both normalised."""
    return float(any(normalise(text) == normalise(answer) for answer in answers))


def token_f1(text: str, answers: Sequence[str]) -> float:
    """The best F1 over the words shared with one of the answers; 0 where nothing is left to share."""
    return max(_f1(normalise(text).split(), normalise(answer).split()) for answer in answers)


def containment(text: str, answers: Sequence[str]) -> float:
    """1 if one of the answers stands in the text as consecutive words, both normalised."""
    words = f" {normalise(text)} "
    return float(any(f" {normalise(answer)} " in words for answer in answers if normalise(answer)))


def abstention(text: str, wordings: Sequence[str]) -> float:
    """1 if the text says that it has no answer: in one of these `wordings`, or in a common one (REFUSALS)."""
    return containment(text, [*wordings, *REFUSALS])


def field_f1(text: str, answers: Sequence[str]) -> float:
    """F1 over the fields of a JSON object: a field counts if key and value agree; empty values are no fields.

    The first object in the text is read; without one, every field is missing and the score is 0.
    """
    found = first_object(text)
    if found is None:
        return 0.0
    return max(_field_f1(_fields(found), _fields(first_object(answer) or {})) for answer in answers)


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
JSON_METRICS = frozenset({"field_f1", "valid_json"})  # where these are asked for, a text without JSON is unparsable


def first_object(text: str) -> dict[str, object] | None:
    """The first JSON object in `text`, or None."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or nested without end
            continue
        if isinstance(value, dict):
            return value
    return None


def _fields(found: dict[str, object]) -> list[tuple[str, str]]:
    """Keys and values, lower case and with single spaces; numbers, lists and objects as JSON writes them."""
    written = {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}
    pairs = ((_plain(key), _plain(value)) for key, value in written.items())
    return [(key, value) for key, value in pairs if value not in ("", "null", "none")]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _field_f1(found: Sequence[tuple[str, str]], wanted: Sequence[tuple[str, str]]) -> float:
    return _f1(found, wanted) if found or wanted else 1.0  # nothing was to be found, and nothing was


def _f1(found: Sequence[Hashable], wanted: Sequence[Hashable]) -> float:
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0
