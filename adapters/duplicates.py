"""Examples that stand in the data twice, word for word or nearly: what was trained on cannot be tested on.

Exact: the same question, normalised, with the same history and context, and an answer in common. Near: the same but
that the wording differs a little (`similar`, from NEAR on). Examples that ask nearly the same and have no answer in
common are two facts, or two labels, and no duplicates; where they ask exactly the same, they contradict each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from adapters.similarity import similar
from adapters.wording import answers, before, normalised, question
from ragtune.examples import Example
from ragtune.terminal import say, say_table

NEAR = 0.8
TRAINED = "train"  # the set that nothing else may share
_SHOWN = 3  # pairs of each kind
_WIDTH = 100  # characters of a text that are shown


@dataclass(frozen=True)
class Pair:
    """Two examples that say the same; `similarity` is 1 for exact ones."""

    first: Example
    second: Example
    similarity: float = 1.0


@dataclass(frozen=True)
class Overlap:
    """How many of the `size` examples of the `second` set stand in the `first`; of the same set: earlier in it.

    `exact` and `near` are a few pairs to look at, the nearest first.
    """

    first: str
    second: str
    size: int
    counts: Mapping[str, int]
    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """The sets, or the one set."""
        return self.first if self.first == self.second else f"{self.first}-{self.second}"

    @property
    def leaks(self) -> bool:
        """Whether figures on the second set would say more than is true, as it was trained on."""
        return self.first == TRAINED != self.second and bool(self.counts["exact"] or self.counts["near"])

    def __str__(self) -> str:
        found = f"{self.counts['exact']:,} exact and {self.counts['near']:,} near duplicates"
        if self.counts["contradicting"]:
            found += f", {self.counts['contradicting']:,} with the question of another and no answer of it"
        if self.first == self.second:
            return f"among {self.size:,} {self.first} examples: {found}"
        told = f"of {self.size:,} {self.second} examples, in {self.first}: {found}"
        if not self.leaks:
            return told
        return f"LEAK: {told}; figures on {self.second} are too good until one of each pair is taken out"


@dataclass(frozen=True)
class Duplicates:
    """What was found between all sets of examples, and within the one that is trained on."""

    overlaps: tuple[Overlap, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many, by the sets and the kind, as in `train-validation near`."""
        return {f"{found.name} {kind}": count for found in self.overlaps for kind, count in found.counts.items()}

    def show(self) -> None:
        """Tell a person what was found, and show a few pairs of every leak side by side."""
        for found in self.overlaps:
            say(str(found))
            if found.leaks:
                pairs = [("exact", pair) for pair in found.exact] + [("near", pair) for pair in found.near]
                rows = [(kind, *map(_short, (p.first.query, p.second.query, p.second.answers[0]))) for kind, p in pairs]
                say_table(("", f"in {found.first}", f"in {found.second}", "answer"), rows)


def find_duplicates(sets: Mapping[str, Sequence[Example]]) -> Duplicates:
    """Compare every two sets of examples, in their order, and the one called `train` with itself."""
    filled = [name for name, examples in sets.items() if examples]
    compared = [(a, b) for a, b in combinations_with_replacement(filled, 2) if a != b or a == TRAINED]
    return Duplicates(tuple(_overlap(a, b, sets[a], sets[b]) for a, b in compared))


def _overlap(name: str, other: str, first: Sequence[Example], second: Sequence[Example]) -> Overlap:
    exact, contradicting = _same_question(first, second, same=name == other)
    near: dict[int, Pair] = {}
    for i, j, likeness in _near(first, second, same=name == other):
        if j not in exact and (j not in near or near[j].similarity < likeness):
            near[j] = Pair(first[i], second[j], likeness)
    contradicting -= near.keys()
    counts = {"exact": len(exact), "near": len(near), "contradicting": len(contradicting)}
    nearest = sorted(near.values(), key=lambda pair: -pair.similarity)
    return Overlap(name, other, len(second), counts, tuple(exact.values())[:_SHOWN], tuple(nearest[:_SHOWN]))


def _same_question(
    first: Sequence[Example], second: Sequence[Example], *, same: bool
) -> tuple[dict[int, Pair], set[int]]:
    """By position in `second`: a pair with an answer in common, and those of which there is none."""
    known: dict[tuple[str, ...], dict[str, Example]] = {}
    exact: dict[int, Pair] = {}
    contradicting: set[int] = set()
    if not same:
        for example in first:
            known.setdefault(question(example), {}).update(dict.fromkeys(answers(example), example))
    for j, example in enumerate(second):
        asked, given = question(example), answers(example)
        earlier = known.get(asked, {})
        if shared := sorted(given & earlier.keys()):
            exact[j] = Pair(earlier[shared[0]], example)
        elif earlier:
            contradicting.add(j)
        if same:
            known[asked] = dict.fromkeys(given, example) | earlier
    return exact, contradicting


def _near(first: Sequence[Example], second: Sequence[Example], *, same: bool) -> Iterator[tuple[int, int, float]]:
    """Positions and similarity of those that ask nearly the same, after the same history and of the same context, and
    agree in an answer."""
    given, also = ([answers(example) for example in examples] for examples in (first, second))
    about, of = ([before(example) for example in examples] for examples in (first, second))
    for part in similar([normalised(e.query) for e in first], [normalised(e.query) for e in second], NEAR):
        for i, j, likeness in zip(*(column.tolist() for column in part), strict=True):
            if (i < j or not same) and about[i] == of[j] and not given[i].isdisjoint(also[j]):
                yield i, j, likeness


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _WIDTH else flat[: _WIDTH - 1] + "…"
