"""Learning: the loop with its looks at the validation loss, and what it is repeated for.

A training that is interrupted goes on from its last state to the same result. What is searched or compared starts anew.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from adapters.answer_loss import Loss, answer_tokens, task_losses, together
from adapters.dataset import Item
from adapters.learning_state import Best, History, StateFile
from adapters.manifest import CurvePoint
from adapters.recipe import Recipe
from adapters.techniques.trainee import Trainee
from adapters.training_loop import Plan, factor, optimise, optimiser_for
from ragtune.errors import Cancelled, RefusedArtifact, StorageFull
from ragtune.terminal import say

Watch = Callable[[str, int, int, Mapping[str, float]], None]
"""Stage, steps done, steps in all, figures. What it raises ends the training; it may be called between steps only."""

_SAVE_AFTER = 120.0  # seconds of learning that may be lost at most, where steps are long
_SLACK = 1.0  # nats above guessing evenly at which a first loss is taken for a mistake


@dataclass(frozen=True)
class Learned:
    """What a training did. Losses are in nats an answer token; `validation` and `tasks` are of the weights kept."""

    rate: float
    curve: tuple[CurvePoint, ...]
    best_step: int
    stopped_early: bool
    seconds: float
    tokens: int
    answer_tokens: int
    validation: float | None
    tasks: Mapping[str, float]

    @property
    def steps(self) -> int:
        """Optimiser steps made."""
        return len(self.curve)


@dataclass(frozen=True)
class Diverged:
    """A training whose loss or gradient stopped being a number."""

    step: int
    steps: int
    rate: float
    what: str

    def refusal(self) -> RefusedArtifact:
        """The error that says so."""
        return RefusedArtifact(
            f"the training diverged at step {self.step} of {self.steps} ({self.what}); nothing was published. Try a "
            f"learning_rate below {self.rate:g}"
        )


def learn(
    trainee: Trainee,
    plan: Plan,
    validation: Sequence[Item],
    recipe: Recipe,
    *,
    pad: int,
    watch: Watch,
    rate: float | None = None,
    states: StateFile | None = None,
) -> Learned:
    """Train `trainee` in place, leaving the best weights looked at, or the last ones where nothing is looked at.

    With `states` it goes on from where it was interrupted, and saves every `checkpoint_every` steps, every two minutes,
    at the end, and when `watch` raises Cancelled or KeyboardInterrupt. `rate` None is the recipe's. Raises
    RefusedArtifact if it diverges, or if the first loss shows that prompts or base model are wrong; StorageFull if a
    state cannot be saved.
    """
    outcome = attempt(trainee, plan, validation, recipe, rate or recipe.rate, pad, watch, states)
    if isinstance(outcome, Diverged):
        raise outcome.refusal()
    return outcome


def attempt(
    trainee: Trainee,
    plan: Plan,
    validation: Sequence[Item],
    recipe: Recipe,
    rate: float,
    pad: int,
    watch: Watch,
    states: StateFile | None = None,
) -> Learned | Diverged:
    """As `learn`, but that a divergence is an outcome."""
    torch.manual_seed(recipe.seed)
    optimiser = optimiser_for(trainee, recipe)
    states = None if states is None else replace(states, identity=f"{states.identity}/{rate!r}/{len(plan)}")
    history = History() if states is None else states.restore(trainee, optimiser)
    looks = _looks(len(plan), recipe.evaluations) if validation else frozenset()
    due = time.monotonic() + _SAVE_AFTER

    while history.step < len(plan) and history.without_gain < recipe.patience:
        started, batches, step = time.monotonic(), plan[history.step], history.step + 1
        now = rate * factor(recipe.schedule, history.step, len(plan), recipe.warmup)
        loss, norm = optimise(trainee.model, batches, optimiser, now, recipe.max_grad_norm, pad)
        if not math.isfinite(loss + norm):
            return Diverged(step, len(plan), rate, f"loss {loss:.3g}, gradient {norm:.3g}")
        if step == 1:
            _check_first(loss, trainee)
        looked = None
        if step in looks:
            losses = task_losses(trainee.model, validation, pad, recipe.batch_tokens)
            looked = together(list(losses.values())).mean
            if not math.isfinite(looked):
                return Diverged(step, len(plan), rate, f"validation loss {looked:.3g}")
            _take_look(history, step, looked, losses, trainee)
        history.step = step
        history.curve.append(CurvePoint(step=step, loss=loss, validation=looked))
        history.tokens += sum(item.length for batch in batches for item in batch)
        history.answer_tokens += sum(map(answer_tokens, batches))
        history.seconds += time.monotonic() - started
        if states is not None and (step % recipe.checkpoint_every == 0 or time.monotonic() >= due):
            states.save(trainee, optimiser, history)
            due = time.monotonic() + _SAVE_AFTER
        try:
            watch("training", step, len(plan), _figures(history))
        except (Cancelled, KeyboardInterrupt):
            _save_at_last(states, trainee, optimiser, history)
            raise

    if states is not None:
        states.save(trainee, optimiser, history)
    if history.best is not None:
        trainee.take(history.best.values)
    trainee.model.eval()
    return Learned(
        rate=rate,
        curve=tuple(history.curve),
        best_step=history.step if history.best is None else history.best.step,
        stopped_early=history.step < len(plan),
        seconds=history.seconds,
        tokens=history.tokens,
        answer_tokens=history.answer_tokens,
        validation=None if history.best is None else history.best.loss,
        tasks={} if history.best is None else history.best.tasks,
    )


def _looks(steps: int, evaluations: int) -> frozenset[int]:
    """The steps after which the validation loss is looked at: spread evenly, the last one among them."""
    count = min(evaluations, steps)
    return frozenset(round(steps * look / count) or 1 for look in range(1, count + 1))


def _take_look(history: History, step: int, loss: float, losses: Mapping[str, Loss], trainee: Trainee) -> None:
    if history.best is None or loss < history.best.loss:
        tasks = {task: of_task.mean for task, of_task in losses.items()}
        history.best, history.without_gain = Best(step, loss, tasks, trainee.copy()), 0
    else:
        history.without_gain += 1


def _figures(history: History) -> dict[str, float]:
    recent = [point.loss for point in history.curve[-10:]]
    figures = {"loss": sum(recent) / len(recent), "tokens_per_second": history.tokens / history.seconds}
    return figures if history.best is None else {**figures, "validation_loss": history.best.loss}


def _check_first(loss: float, trainee: Trainee) -> None:
    """Raises RefusedArtifact if the model starts out much worse than one that finds every token equally likely."""
    even = math.log(int(trainee.base.config.vocab_size))
    if loss > even + _SLACK:
        raise RefusedArtifact(
            f"the loss starts at {loss:.2f} nats a token, where guessing evenly gives {even:.2f}: the prompts or the "
            "base model are not what this training is meant for; look at the template, and at the answers in the data"
        )


def _save_at_last(
    states: StateFile | None, trainee: Trainee, optimiser: torch.optim.Optimizer, history: History
) -> None:
    """For a training that ends here, by somebody's wish: a full disk changes nothing about that, but is said."""
    if states is not None:
        try:
            states.save(trainee, optimiser, history)
        except StorageFull as error:
            say(error.message)
