"""What an interrupted training goes on from: everything that decides how it continues, in one file.

Written beside and renamed, so the file is always whole; read with `weights_only`, so it can hold nothing but numbers.
Going on from it gives the same losses and weights as not having been interrupted.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from adapters.manifest import CurvePoint
from adapters.techniques.trainee import Trainee
from ragtune.full_disk import full_disk_told
from ragtune.terminal import say

STATE_FILE = "learning.pt"
_FORMAT = 1


@dataclass(frozen=True)
class Best:
    """The best weights looked at so far, and their validation loss in nats a token, in all and by task."""

    step: int
    loss: float
    tasks: dict[str, float]
    values: dict[str, Tensor]


@dataclass
class History:
    """What has happened so far: optimiser steps done, all tokens and those that carried the loss, seconds taken."""

    step: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    without_gain: int = 0  # looks at the validation loss since the best one
    best: Best | None = None
    curve: list[CurvePoint] = field(default_factory=list)


@dataclass(frozen=True)
class StateFile:
    """The state of one training in `folder`; `identity` says which one it is."""

    folder: Path
    identity: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / STATE_FILE

    def save(self, trainee: Trainee, optimiser: torch.optim.Optimizer, history: History) -> None:
        """Raises StorageFull; what was saved before stays as it was."""
        state = {
            "format": _FORMAT,
            "identity": self.identity,
            "values": trainee.copy(),
            "optimiser": optimiser.state_dict(),
            "random": _random_state(),
            **_plain(history),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        try:
            with full_disk_told(self.folder), beside.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        beside.rename(self.path)

    def restore(self, trainee: Trainee, optimiser: torch.optim.Optimizer) -> History:
        """Put trainee, optimiser and random numbers where they were; a new history where there is nothing to go on
        from, which is said if something else lies there."""
        if not self.path.is_file():
            return History()
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["format"] != _FORMAT or state["identity"] != self.identity:
                say("the training that was interrupted here had another recipe, data or base model; starting anew")
                return History()
        except (RuntimeError, UnpicklingError, EOFError, LookupError, TypeError, ValueError) as error:
            say(f"{self.path} cannot be read ({type(error).__name__}); starting anew")
            return History()
        trainee.take(state["values"])
        optimiser.load_state_dict(state["optimiser"])
        _set_random_state(state["random"])
        history = _history(state)
        say(f"going on after step {history.step}")
        return history

    def remove(self) -> None:
        """Once the training is published nothing goes on from it any more."""
        self.path.unlink(missing_ok=True)


def _plain(history: History) -> dict[str, Any]:
    fields = {name: value for name, value in vars(history).items() if name not in ("curve", "best")}
    best = None if history.best is None else {**asdict(history.best), "values": history.best.values}
    return {"history": fields, "best": best, "curve": [(p.step, p.loss, p.validation) for p in history.curve]}


def _history(state: dict[str, Any]) -> History:
    best = None if state["best"] is None else Best(**state["best"])
    curve = [CurvePoint(step=step, loss=loss, validation=looked) for step, loss, looked in state["curve"]]
    return History(**state["history"], best=best, curve=curve)


def _random_state() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
