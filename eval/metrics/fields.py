"""JSON objects in texts, field by field.

A field is a path and a value: `{"seller": {"name": "X"}}` has the one field seller, name = x. A list is a set of
values: each element is a field of its own, and an element that is itself an object or a list agrees only as a whole.
Keys and texts are compared in lower case with single spaces, and numbers are equal to their spelling in quotes. What is
empty (`""`, `null`, `"none"`, `[]`, `{}`) is no field.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from eval.metrics.overlap import Overlap

DEEPEST = 64  # levels; an object nested deeper is not read
_EMPTY = ("", "null", "none")
Field = tuple[tuple[str, ...], str]


def first_object(text: str) -> dict[str, object] | None:
    """The first JSON object in `text`, or None."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or nested without end
            continue
        if isinstance(value, dict) and _is_shallow(value):
            return value
    return None


def fields(found: Mapping[str, object]) -> set[Field]:
    """The fields of an object."""
    return set(_flattened((), found))


def valid_json(text: str, _answers: Sequence[str]) -> float:
    """1 if the text holds a JSON object."""
    return float(first_object(text) is not None)


def field_precision(text: str, answers: Sequence[str]) -> float | None:
    """The share of the text's fields that are right; None where it states none, or no answer is JSON."""
    return _best(text, answers, lambda both: both.precision)


def field_recall(text: str, answers: Sequence[str]) -> float | None:
    """The share of the answer's fields that the text has; 0 without JSON, None where no answer has a field."""
    return _best(text, answers, lambda both: both.recall)


def field_f1(text: str, answers: Sequence[str]) -> float | None:
    """F1 over the fields; 0 without JSON, 1 where nothing was to be found and an object says so.

    None where no answer is JSON.
    """
    said = first_object(text)
    return _best(text, answers, lambda both: 1.0 if said is not None and both.is_empty else both.f1)


def _best(text: str, answers: Sequence[str], figure: Callable[[Overlap], float | None]) -> float | None:
    """The best figure over the answers that are JSON, each against the first object in the text."""
    said = fields(first_object(text) or {})
    wanted = [fields(found) for answer in answers if (found := first_object(answer)) is not None]
    figures = [figure(Overlap.between(said, one)) for one in wanted]
    return max((one for one in figures if one is not None), default=None)


def _flattened(path: tuple[str, ...], value: object) -> Iterator[Field]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flattened((*path, _plain(key)), inner)
        return
    for element in value if isinstance(value, list) else [value]:
        written = _written(element)
        if written not in _EMPTY:
            yield path, written


def _written(value: object) -> str:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict):
        inner: Sequence[object] = sorted(fields(value))
    elif isinstance(value, list):
        inner = sorted({_written(element) for element in value}.difference(_EMPTY))
    else:
        return json.dumps(value)
    return repr(inner) if inner else ""


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
