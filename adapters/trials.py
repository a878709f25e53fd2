"""Trials: what a training is repeated for, to find its learning rate and to see what its tasks do to each other."""

from collections.abc import Sequence

from adapters.dataset import Item
from adapters.learning import Diverged, Learned, Watch, attempt
from adapters.manifest import SearchedRate
from adapters.mixing import plan
from adapters.recipe import Recipe
from adapters.techniques.trainee import Trainee
from adapters.training_loop import Plan
from ragtune.errors import RefusedArtifact
from ragtune.terminal import say

_LEAST = 8  # steps a rate is tried for


def search(
    trainee: Trainee,
    steps: Plan,
    validation: Sequence[Item],
    recipe: Recipe,
    *,
    rates: Sequence[float],
    pad: int,
    watch: Watch,
) -> tuple[SearchedRate, ...]:
    """Train for all of `steps` at each rate, from the same start, each with a whole schedule of that length.

    The trainee is left as it came. The loss is that on the validation items, or without any the training loss over the
    last quarter of the steps; None for a rate that diverged. Raises what `watch` raises; nothing of a search is kept.
    """
    start = trainee.copy()
    at_the_end = recipe.model_copy(update={"evaluations": 1})
    found = []
    for number, rate in enumerate(rates):
        watching = _part(watch, "searching rates", number * len(steps), len(rates) * len(steps))
        try:
            outcome = attempt(trainee, steps, validation, at_the_end, rate, pad, watching)
        finally:
            trainee.take(start)
        loss = None if isinstance(outcome, Diverged) else _reached(outcome)
        found.append(SearchedRate(learning_rate=rate, steps=len(steps), validation_loss=loss))
    return tuple(found)


def search_steps(steps: Plan) -> Plan:
    """The first quarter of a training, at least eight steps if it has them: what each rate is tried on."""
    return steps[: max(_LEAST, len(steps) // 4)]


def best_rate(searched: Sequence[SearchedRate]) -> float:
    """The rate with the lowest loss. Raises RefusedArtifact if all diverged."""
    reached = [(s.validation_loss, s.learning_rate) for s in searched if s.validation_loss is not None]
    if not reached:
        tried = ", ".join(f"{s.learning_rate:g}" for s in searched)
        raise RefusedArtifact(f"the training diverged at every learning rate tried ({tried}); search lower ones")
    return min(reached)[1]


def alone(
    trainee: Trainee,
    items: Sequence[Item],
    together: Plan,
    validation: Sequence[Item],
    recipe: Recipe,
    *,
    rate: float,
    pad: int,
    watch: Watch,
) -> dict[str, float]:
    """The validation loss of every task after a training on it alone, on as many of its examples as in `together`.

    `items` are those `together` was planned from. The trainee starts as it came each time and is left so; nothing of
    these trainings is kept. Left out are tasks that have no validation items, or none to train on, and a training that
    diverged, which is said. Each keeps the best weights for its own task, where together one look decides for all.
    """
    start = trainee.copy()
    compared = {item.task for item in validation} & {item.task for item in items}
    plans = {task: _alone(task, items, together, recipe) for task in sorted(compared)}
    total, done = sum(map(len, plans.values())), 0
    losses = {}
    for task, steps in plans.items():
        own = [item for item in validation if item.task == task]
        watching = _part(watch, "training each task alone", done, total)
        try:
            outcome = attempt(trainee, steps, own, recipe, rate, pad, watching)
        finally:
            trainee.take(start)
        if isinstance(outcome, Diverged):
            say(f"trained alone, {task} diverged: {outcome.refusal().message}")
        else:
            losses[task] = outcome.tasks[task]
        done += len(steps)
    return losses


def _alone(task: str, items: Sequence[Item], together: Plan, recipe: Recipe) -> Plan:
    own = [item for item in items if item.task == task]
    drawn = sum(item.task == task for step in together for batch in step for item in batch)
    update: dict[str, object] = {"epochs": max(1, drawn) / len(own), "max_steps": None, "weights": {}}
    return plan(own, recipe.model_copy(update=update))


def _part(watch: Watch, stage: str, before: int, total: int) -> Watch:
    return lambda _stage, done, _total, figures: watch(stage, before + done, total, figures)


def _reached(learned: Learned) -> float:
    if learned.validation is not None:
        return learned.validation
    last = learned.curve[-max(1, len(learned.curve) // 4) :]
    return sum(point.loss for point in last) / len(last)
