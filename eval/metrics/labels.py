"""Labels: which of a task's labels a text names, and how good that is over all items.

An answer that names none of them, or several, is wrong, and is told of apart; leaving it out would favour an arm that
answers only where it is easy.
"""

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.metric import Floats
from eval.observed import Observed

if TYPE_CHECKING:  # a run file holds a suite, and a suite names metrics
    from eval.runfile import Item

NONE_OF_THEM = ""
_EDGES = string.punctuation + string.whitespace


@lru_cache(maxsize=4096)
def plain(label: str) -> str:
    """Lower case, single spaces for white space, hyphens and underscores: `card_arrival` is `Card arrival`."""
    return " ".join(re.sub(r"[\s_-]+", " ", label.lower()).split()) or label.strip().lower()


def label_in(text: str, labels: Sequence[str]) -> str:
    """The label that the text names, as it is written among `labels`; NONE_OF_THEM if that is none or several.

    The whole text being a label goes first, else it is the only one that stands in the text as whole words. Where one
    label is part of another, the longer one is read. Two labels that are plainly the same are the first of them.
    """
    known = _by_plain(tuple(labels))
    said = plain(text)
    for whole in (said, said.strip(_EDGES)):
        if whole in known:
            return known[whole]
    named = set(_any_of(tuple(known)).findall(said)) if known else set()
    return known[named.pop()] if len(named) == 1 else NONE_OF_THEM


def label_accuracy(observed: Observed) -> float | None:
    """1 if the label read from the text is one of the answers; None where the task has no labels."""
    return _right(label_in(observed.text, observed.labels), observed.example.answers) if observed.labels else None


def label_counts(items: Sequence["Item"]) -> Floats:
    """Of each item, for every label that is wanted or predicted in one of them: whether it was predicted rightly,
    predicted, wanted. Shape (items, 3 x labels); all 0 for an item of which no label was read.

    Having named none of them is no label, but a miss of the one wanted. Of several accepted answers the predicted one
    is the wanted one, else the first.
    """
    return counts_of(
        [
            (NONE_OF_THEM, NONE_OF_THEM) if item.predicted is None else (plain(item.predicted), _wanted(item))
            for item in items
        ]
    )


def counts_of(pairs: Sequence[tuple[str, str]]) -> Floats:
    """The counts of pairs of a predicted and a wanted label."""
    labels = sorted({label for pair in pairs for label in pair} - {NONE_OF_THEM})
    places = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(pairs), 3, len(labels)))
    for row, (predicted, wanted) in zip(counts, pairs, strict=True):
        if predicted in places:
            row[0, places[predicted]] = predicted == wanted
            row[1, places[predicted]] = 1
        if wanted in places:
            row[2, places[wanted]] = 1
    return counts.reshape(len(pairs), 3 * len(labels))


def macro_f1(sums: Floats) -> Floats:
    """Of sums of `label_counts` the mean over labels of their F1, as scikit-learn's `f1_score(average="macro")`.

    The labels of a set are those that are wanted or predicted in it; NaN for a set without one.
    """
    right, said, meant = np.moveaxis(sums.reshape(len(sums), 3, sums.shape[1] // 3), 1, 0)
    seen = said + meant
    f1 = np.divide(2 * right, seen, out=np.zeros_like(seen), where=seen > 0)
    labels = (seen > 0).sum(axis=1)
    means = np.full(len(sums), np.nan)
    np.divide(f1.sum(axis=1), labels, out=means, where=labels > 0)
    return means


def macro_f1_of(predicted: Sequence[str], wanted: Sequence[str]) -> float | None:
    """The macro-F1 of predicted against wanted labels, in pairs; a prediction of NONE_OF_THEM is none."""
    sums = counts_of(list(zip(predicted, wanted, strict=True))).sum(axis=0, keepdims=True)
    return float(macro_f1(sums)[0]) if sums.any() else None


def _wanted(item: "Item") -> str:
    assert item.predicted is not None
    accepted = [plain(answer) for answer in item.answers]
    return plain(item.predicted) if plain(item.predicted) in accepted else accepted[0]


def _right(predicted: str, answers: Sequence[str]) -> float:
    return float(predicted != NONE_OF_THEM and plain(predicted) in [plain(answer) for answer in answers])


@lru_cache(maxsize=64)
def _by_plain(labels: tuple[str, ...]) -> dict[str, str]:
    return {plain(label): label for label in reversed(labels)}


@lru_cache(maxsize=64)
def _any_of(labels: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the labels as whole words, the longest first."""
    longest = sorted(labels, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)")
