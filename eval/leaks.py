"""Held-out examples that stand in what was trained on: what was learnt by heart cannot be tested.

A leak asks what a trained example asks, word for word and of the same context; or nearly so (the Jaccard similarity of
the sets of words is NEAR or more) with an answer in common, of the same context or where only one has any; or its
answer, of LONG words or more, stands in a trained answer. Answers of unanswerable examples are wordings of having none,
and no leak. Pairs are found by prefix filtering (Chaudhuri, Ganti and Kaushik 2006): two sets whose similarity is t or
more have one of each other's rarest words in common.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.wording import alike_before, answers, normalised, question, rarest_first, stands, words
from ragtune.errors import RefusedArtifact
from ragtune.examples import UNANSWERABLE, Example, read_examples

NEAR = 0.8
LONG = 12  # words
_SHOWN = 5


@dataclass(frozen=True)
class Leak:
    """A held-out example, and the trained one that gives it away."""

    task: str
    heldout: Example
    trained: Example
    file: Path
    how: str

    def __str__(self) -> str:
        return (
            f"{self.task} {self.heldout.id!r} ({_short(self.heldout.query)}) {self.how} {self.trained.id!r} of "
            f"{self.file.name} ({_short(self.trained.query)})"
        )


def read_trained(files: Sequence[Path]) -> dict[Path, list[Example]]:
    """What was trained on, by file. Raises RefusedArtifact for a file that cannot be read."""
    return {file: read_examples(file) for file in dict.fromkeys(files)}


def find_leaks(tasks: Mapping[str, Sequence[Example]], trained: Mapping[Path, Sequence[Example]]) -> list[Leak]:
    """At most one leak of each held-out example, in the order of the tasks and their examples."""
    known = [(file, example) for file, examples in trained.items() for example in examples]
    asked = {question(example): place for place, (_, example) in reversed(list(enumerate(known)))}
    near, told = _Near([example for _, example in known]), _Told([example for _, example in known])
    found = []
    for task, examples in tasks.items():
        for example in examples:
            for place, how in (
                (asked.get(question(example)), "asks what is trained on as"),
                (near.to(example), "asks nearly what is trained on as"),
                (told.by(example), "has the answer of"),
            ):
                if place is not None:
                    found.append(Leak(task, example, known[place][1], known[place][0], how))
                    break
    return found


def refuse(leaks: Sequence[Leak]) -> None:
    """Raises RefusedArtifact, naming a few of them, if there are any."""
    if leaks:
        pairs = "".join(f"\n  {leak}" for leak in leaks[:_SHOWN])
        more = f"\n  and {len(leaks) - _SHOWN} more" if len(leaks) > _SHOWN else ""
        raise RefusedArtifact(
            f"{len(leaks)} held-out examples stand in what was trained on, so that their scores would say nothing:"
            f"{pairs}{more}\ntake them out, or run with --allow-leaks, which the report will tell"
        )


class _Near:
    """Trained examples by the rarest words of their questions."""

    def __init__(self, trained: Sequence[Example]) -> None:
        self._trained = trained
        self._sets = [words(example.query) for example in trained]
        self._rarity = rarest_first(self._sets)
        self._by_word: defaultdict[str, list[int]] = defaultdict(list)
        for place, own in enumerate(self._sets):
            for word in self._rarest(own):
                self._by_word[word].append(place)

    def to(self, example: Example) -> int | None:
        """The first that asks nearly the same, of the same and after the same, and has an answer in common."""
        asked, given = words(example.query), answers(example)
        for place in sorted({place for word in self._rarest(asked) for place in self._by_word.get(word, ())}):
            other, known = self._sets[place], self._trained[place]
            near = len(asked & other) >= NEAR * len(asked | other)
            if near and not given.isdisjoint(answers(known)) and alike_before(known, example):
                return place
        return None

    def _rarest(self, own: frozenset[str]) -> list[str]:
        """As many of its rarest words as a similar set must have one of; unseen ones are the rarest."""
        ordered = sorted(own, key=lambda word: (self._rarity.get(word, -1), word))
        return ordered[: len(ordered) - math.ceil(NEAR * len(ordered) - 1e-9) + 1]


class _Told:
    """Trained answers that are long enough to tell one thing only, by their words."""

    def __init__(self, trained: Sequence[Example]) -> None:
        self._long = [(place, text) for place, text in _long_answers(trained)]
        self._by_word: defaultdict[str, set[int]] = defaultdict(set)
        for at, (_, text) in enumerate(self._long):
            for word in words(text):
                self._by_word[word].add(at)

    def by(self, example: Example) -> int | None:
        """The first trained example in whose answer one of the example's stands, if that is long."""
        for _, answer in _long_answers([example]):
            by_word = sorted((self._by_word.get(word, set()) for word in words(answer)), key=len)
            for at in sorted(set.intersection(*by_word)) if by_word else ():
                if stands(answer, self._long[at][1]):
                    return self._long[at][0]
        return None


def _long_answers(examples: Sequence[Example]) -> Iterator[tuple[int, str]]:
    for place, example in enumerate(examples):
        if example.slice != UNANSWERABLE:
            for answer in example.answers:
                if len(answer.split()) >= LONG:
                    yield place, normalised(answer)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:59] + "…"
