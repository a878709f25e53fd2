"""Citations `[1]` of the passages in the prompt (after Gao et al. 2023, ALCE, with gold documents for the judge).

A citation is right if its passage is of a gold document; where the example names none, if it contains an accepted
answer. A number that no passage has is a citation, too, and a wrong one.
"""

import re

from eval.metrics.retrieval import relevant
from eval.metrics.words import containment
from eval.observed import Observed

_CITATION = re.compile(r"\[(\d{1,3})\]")


def citation_precision(observed: Observed) -> float | None:
    """The share of the cited passages that are right; None without passages, or where nothing is cited."""
    cited = _cited(observed)
    return len(cited & _supporting(observed)) / len(cited) if cited and observed.passages else None


def citation_recall(observed: Observed) -> float | None:
    """The share of the gold documents in the prompt that are cited.

    None where the example names no gold document, or none stands in the prompt: that is the retriever's miss.
    """
    cited, gold = _cited(observed), relevant(observed.example)
    shown = {passage.document for passage in observed.passages} & gold
    told = {passage.document for passage in observed.passages if passage.number in cited} & gold
    return len(told) / len(shown) if shown else None


def uncited(observed: Observed) -> str:
    """The text without its citations; without passages it has none, and `[2]` is part of what it says."""
    return _CITATION.sub(" ", observed.text) if observed.passages else observed.text


def _cited(observed: Observed) -> set[int]:
    named = {int(number) for number in _CITATION.findall(observed.text)}
    return named | {passage.number for passage in observed.passages if passage.cited}


def _supporting(observed: Observed) -> set[int]:
    gold, answers = relevant(observed.example), observed.example.answers
    if gold:
        return {passage.number for passage in observed.passages if passage.document in gold}
    return {passage.number for passage in observed.passages if containment(passage.text, answers)}
