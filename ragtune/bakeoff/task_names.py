"""What a task is called whose examples do not say: what the names of its two files have in common."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

_PARTS = frozenset(("train", "training", "test", "heldout", "held", "out", "dev", "validation", "valid", "eval"))


def slug(text: str) -> str:
    """As a name may be: lower case, without blanks, and without what is no letter or digit at either end."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


def pair_names(train: Sequence[Path], heldout: Sequence[Path]) -> dict[Path, str]:
    """By file, the i-th of `train` with the i-th of `heldout`; none if they are no pairs.

    The words that both names begin with, those that say which part a file is left out; where there are none or two
    pairs share them, the folder that both stand in; where that tells no more, task-1, task-2.
    """
    if len(train) != len(heldout):
        return {}
    pairs = list(zip(train, heldout, strict=True))
    names = [_shared(*pair) for pair in pairs]
    if not _all_different(names):
        names = [_folder(*pair) for pair in pairs]
    if not _all_different(names):
        names = [f"task-{number}" for number in range(1, len(pairs) + 1)]
    return {file: name for pair, name in zip(pairs, names, strict=True) for file in pair}


def _shared(first: Path, second: Path) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(_words(first), _words(second), strict=False))
    return slug("-".join(word for word, _ in same))


def _words(file: Path) -> list[str]:
    return [word for word in slug(file.stem).split("-") if word not in _PARTS]


def _folder(first: Path, second: Path) -> str:
    parents = {first.resolve().parent, second.resolve().parent}
    return slug(parents.pop().name) if len(parents) == 1 else ""


def _all_different(names: Sequence[str]) -> bool:
    return all(names) and max(Counter(names).values(), default=0) <= 1
