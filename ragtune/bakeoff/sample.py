"""The order in which examples are taken, so that as many as there is time for are a fair sample of all."""

import random
from collections.abc import Sequence

from ragtune.examples import Example


def in_fair_order(examples: Sequence[Example]) -> list[Example]:
    """Shuffled, the same way every time; every beginning has about as much of each slice as the whole."""
    slices: dict[str, list[Example]] = {}
    for example in examples:
        slices.setdefault(example.slice, []).append(example)
    placed: list[tuple[float, str, Example]] = []
    for name, members in slices.items():
        random.Random(name).shuffle(members)
        placed += [((rank + 0.5) / len(members), name, example) for rank, example in enumerate(members)]
    return [example for _, _, example in sorted(placed, key=lambda one: one[:2])]
