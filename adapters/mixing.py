"""Which items make which optimiser step: the share of each task, and batches of like length or of so many examples.

An epoch is as many items as there are. A task whose share is larger than its size repeats some of its items, one whose
share is smaller shows a part of them in each epoch, and in the long run each comes up equally often.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from adapters.dataset import Item, filled
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact, UnknownName

Batch = list[Item]
Step = list[Batch]  # batches whose gradients are added up

_WINDOW = 64  # items sorted by length together: enough for even batches, few enough to keep the order random
_EXACT = 1e-9  # what is nearer to a whole number is one, but for rounding


def plan(items: Sequence[Item], recipe: Recipe) -> list[Step]:
    """Every optimiser step in order, each of up to `accumulate` batches; drawn by the seed alone.

    With a `batch_size` a batch is that many items as they are drawn, in parts of like length that go through the model
    one after the other. Raises RefusedArtifact for a weight of a task that no item has.
    """
    most = recipe.max_steps * recipe.accumulate if recipe.max_steps else None
    drawn = _Drawn(items, recipe)
    made: list[Batch] = []
    epoch = 0
    while epoch < recipe.epochs and (most is None or len(made) < most):
        whole = _epoch(drawn.epoch(), recipe, f"{recipe.seed}/{epoch}")
        part = min(1.0, recipe.epochs - epoch)
        made += whole[: max(0 if made else 1, round(len(whole) * part))]
        epoch += 1
    made = made[:most]
    steps = [made[at : at + recipe.accumulate] for at in range(0, len(made), recipe.accumulate)]
    if recipe.batch_size is None:
        return steps
    return [[part for batch in step for part in filled(batch, recipe.batch_tokens)] for step in steps]


def _epoch(items: Sequence[Item], recipe: Recipe, seed: str) -> list[Batch]:
    if recipe.batch_size is None:
        return batches(items, recipe.batch_tokens, seed)
    order = random.Random(seed).sample(items, len(items))
    return [order[at : at + recipe.batch_size] for at in range(0, len(order), recipe.batch_size)]


def shares(sizes: Mapping[str, int], recipe: Recipe) -> dict[str, float]:
    """The share of each task in what is drawn, from how many items each has; they sum to 1.

    With temperature T a task of n items has a part of n ** (1 / T) (Raffel et al. 2020, section 3.5.2, without their
    limit K); 1 is proportional. `weights` are factors on that. Raises RefusedArtifact for a weight of another task.
    """
    for task in recipe.weights:
        if task not in sizes:
            raise RefusedArtifact(f"weights: {UnknownName.among('task', task, sizes).message}")
    exponent = {"proportional": 1.0, "temperature": 1 / recipe.temperature, "equal": 0.0}[recipe.mixing]
    parts = {task: size**exponent * recipe.weights.get(task, 1.0) for task, size in sizes.items()}
    total = sum(parts.values())
    return {task: part / total for task, part in parts.items()}


def batches(items: Sequence[Item], batch_tokens: int, seed: str) -> list[Batch]:
    """One epoch in an order drawn by `seed`, in batches of like length, so that little is padded.

    A batch takes at most `batch_tokens` tokens once padded, or is a single longer item.
    """
    chance = random.Random(seed)
    order = list(items)
    chance.shuffle(order)
    windows = (order[at : at + _WINDOW] for at in range(0, len(order), _WINDOW))
    made = [batch for window in windows for batch in filled(window, batch_tokens)]
    chance.shuffle(made)
    return made


class _Drawn:
    """Epoch after epoch, the items that are in it, in the order in which they were given."""

    def __init__(self, items: Sequence[Item], recipe: Recipe) -> None:
        self._items = items
        places: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(item.task, []).append(place)
        self._shares = shares({task: len(own) for task, own in places.items()}, recipe)
        self._streams = {task: _endless(own, f"{recipe.seed}/{task}") for task, own in places.items()}
        self._given = Counter[str]()
        self._epochs = 0

    def epoch(self) -> list[Item]:
        self._epochs += 1
        counts = self._counts()
        places = [next(self._streams[task]) for task, count in counts.items() for _ in range(count)]
        self._given.update(counts)
        return [self._items[place] for place in sorted(places)]

    def _counts(self) -> Counter[str]:
        """How many of each task: its share rounded down, and one more for those that lag behind it most."""
        size = len(self._items)
        counts = Counter({task: int(share * size + _EXACT) for task, share in self._shares.items()})
        lag = {
            task: share * size * self._epochs - self._given[task] - counts[task] for task, share in self._shares.items()
        }
        for task in sorted(lag, key=lambda task: -round(lag[task], 6))[: size - counts.total()]:
            counts[task] += 1
        return counts


def _endless(places: Sequence[int], seed: str) -> Iterator[int]:
    """All places in an order drawn by `seed`, then all in another order, and so on."""
    chance = random.Random(seed)
    while True:
        yield from chance.sample(places, len(places))
