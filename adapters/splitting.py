"""Which examples are kept aside for validation: some of every task, and no question on both sides. Plain Python."""

import random
from collections.abc import Mapping, Sequence

from adapters.wording import question
from ragtune.examples import Example

Alike = list[Example]  # they ask the same


def stratified(examples: Sequence[Example], count: int, seed: int, *, spare: int = 0) -> tuple[Alike, Alike]:
    """At most `count` examples drawn by `seed`, and the others, both in their order.

    Tasks get places in proportion to their size, and each one at least while there are enough. Examples that ask the
    same are drawn together or not at all, and `spare` different questions of every task stay among the others.
    """
    tasks = _tasks(examples)
    drawn: set[str] = set()
    for task, left in _places({task: sum(map(len, own)) for task, own in tasks.items()}, count).items():
        groups = random.Random(f"{seed}/{task}").sample(tasks[task], len(tasks[task]))
        for alike in groups[: max(0, len(groups) - spare)]:
            if len(alike) <= left:
                drawn.update(example.id for example in alike)
                left -= len(alike)
    return [e for e in examples if e.id in drawn], [e for e in examples if e.id not in drawn]


def _tasks(examples: Sequence[Example]) -> dict[str, list[Alike]]:
    """Groups that ask the same, by the task of their first one."""
    groups: dict[tuple[str, ...], Alike] = {}
    for example in examples:
        groups.setdefault(question(example), []).append(example)
    tasks: dict[str, list[Alike]] = {}
    for alike in groups.values():
        tasks.setdefault(alike[0].task, []).append(alike)
    return tasks


def _places(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """`count` places handed out one by one: first to each task, largest first, then as Webster and Sainte-Laguë do."""
    places = dict.fromkeys(sizes, 0)
    for _ in range(min(count, sum(sizes.values()))):
        task = max(sizes, key=lambda task: (places[task] == 0, sizes[task] / (2 * places[task] + 1)))
        places[task] += 1
    return places
