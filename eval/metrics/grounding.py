"""Groundedness: how much of what a text says stands in the passages it was given.

The share of its content words that occur in them: without punctuation, citations, stop words and the words of the
question. Numbers and names must occur whole; other words may differ in their ending (`casting`, `casts`).

It counts words, not statements. A wrong statement in the passages' own words is grounded, a right one in other words is
not, a negation goes unseen. Stop words and endings are English; where words are not set apart by spaces a run of
letters is one word. It tells inventions from quotations, cheaply and always alike; it does not tell truth.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from eval.metrics.abstention import abstains
from eval.metrics.citations import uncited
from eval.observed import Observed

_WORD = re.compile(r"\d+(?:[.,]\d+)*(?!\w)|\w+")
_GROUPING = re.compile(r",(?=\d{3}(?!\d))")
_ENDINGS = ("ing", "ed", "es", "ly", "s")
_SHORTEST = 3  # letters a stem keeps
_SENTENCE_ENDS = ".!?:\n"
_BETWEEN = " \t\"'“”‘’([{*#>-"
_STOP_WORDS = """
    a about above after again against all also am an and any are aren as at be because been before being below
    between both but by can cannot could couldn d did didn do does doesn doing don down during each either else ever
    every few for from further had hadn has hasn have haven having he her here hers herself him himself his how however
    i if in into is isn it its itself just ll m may me might more most must my myself no nor not of off on once one only
    or other our ours ourselves out over own per re s said same say says shall she should shouldn so some such t than
    that the their theirs them themselves then there therefore these they this those through thus to too under until up
    upon us ve very was wasn we were weren what when where whether which while who whom whose why will with within
    without won would wouldn yes yet you your yours yourself yourselves according answer based context document
    documents mentioned passage passages provided question stated text
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class _Word:
    """A content word in lower case; `whole` if it is a number or a name."""

    text: str
    whole: bool

    @property
    def stem(self) -> str:
        fits = (e for e in _ENDINGS if self.text.endswith(e) and len(self.text) - len(e) >= _SHORTEST)
        return self.text.removesuffix(next(fits, "")).removesuffix("e")


def groundedness(observed: Observed) -> float | None:
    """The share of the text's content words that its passages support, 0 to 1.

    None without passages, where no content word is left, and where the text says that it has no answer.
    """
    if not observed.passages or abstains(observed):
        return None
    asked = {word.text for word in _words(observed.example.query)}
    said = [word for word in _words(uncited(observed)) if word.text not in asked]
    given = [word for passage in observed.passages for word in _words(passage.text)]
    texts, stems = {word.text for word in given}, {word.stem for word in given}
    supported = sum(word.text in texts if word.whole else word.stem in stems for word in said)
    return supported / len(said) if said else None


def _words(text: str) -> Iterator[_Word]:
    for match in _WORD.finditer(text):
        plain = _GROUPING.sub("", match[0]).lower()
        if plain not in STOP_WORDS:
            yield _Word(plain, whole=_is_number(match[0]) or _is_name(match, text))


def _is_number(word: str) -> bool:
    return any(sign.isdigit() for sign in word)


def _is_name(match: re.Match[str], text: str) -> bool:
    """Capitals inside a word, or at its beginning unless it begins a sentence."""
    word, before = match[0], text[: match.start()].rstrip(_BETWEEN)
    begins = not before or before[-1] in _SENTENCE_ENDS
    return word[1:] != word[1:].lower() or (word[0].isupper() and not begins)
