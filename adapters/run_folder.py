"""The folder of one training: what it goes on from when it was interrupted, and what is left of it for people.

Its name holds the identity of the training, so the same recipe on the same data and base model finds its own.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path

from pydantic import BaseModel, ValidationError

from adapters.bill_page import write_bill
from adapters.learning import Watch
from adapters.learning_state import STATE_FILE, StateFile
from adapters.manifest import CurvePoint, SearchedRate, TrainingRecord
from adapters.meter import Meter, Spent
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact
from ragtune.terminal import say

_SO_FAR = "so-far.json"
_LEARNING = ("searching rates", "training")  # stages


def identity_of(recipe: Recipe, data_sha256: str, base_fingerprint: str, *more: str) -> str:
    """What has to be the same for a training to go on: recipe, data token by token, base model, libraries, and what
    else decides the result."""
    libraries = (f"{name} {library_version(name)}" for name in ("torch", "transformers", "peft"))
    told = "\0".join((recipe.model_dump_json(), data_sha256, base_fingerprint, *libraries, *more))
    return hashlib.sha256(told.encode()).hexdigest()


class _SoFar(BaseModel):
    """What an interrupted training has used, and found out before it began to learn."""

    spent: Spent = Spent()
    learning_peak: int = 0
    searched: tuple[SearchedRate, ...] | None = None
    search_seconds: float = 0.0
    measuring_seconds: float = 0.0


@dataclass
class RunFolder:
    """One training's folder below the home's runs."""

    folder: Path
    states: StateFile
    _so_far: _SoFar

    @classmethod
    def of(cls, runs: Path, recipe: Recipe, identity: str) -> "RunFolder":
        """The folder of this training, new or as it was left; trainings of this name that were left elsewhere are told.

        Raises OSError.
        """
        folder = runs / f"{recipe.name}-{identity[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        for left in sorted(runs.glob(f"{recipe.name}-{'[0-9a-f]' * 12}/{STATE_FILE}")):
            if left.parent != folder:
                say(
                    f"not gone on with: {left.parent}, a training of another recipe, data, base model or library; "
                    f"delete it to have {left.stat().st_size / 1e6:,.0f} MB back"
                )
        try:
            so_far = _SoFar.model_validate_json((folder / _SO_FAR).read_bytes())
        except (FileNotFoundError, ValidationError):  # begun anew, which `states` tells of
            so_far = _SoFar()
        return cls(folder, StateFile(folder, identity), so_far)

    @property
    def spent(self) -> Spent:
        """What was used before this process."""
        return self._so_far.spent

    @property
    def learning_peak(self) -> int:
        """The most memory in bytes that learning took before this process."""
        return self._so_far.learning_peak

    @property
    def searched(self) -> tuple[SearchedRate, ...] | None:
        """The rates that were tried; None if none was yet."""
        return self._so_far.searched

    @property
    def search_seconds(self) -> float:
        """How long that took."""
        return self._so_far.search_seconds

    @property
    def measuring_seconds(self) -> float:
        """How long measuring took so far."""
        return self._so_far.measuring_seconds

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """What is inside only looks at what was learned; how long it took is known even if it ends early."""
        started = time.monotonic()
        try:
            yield
        finally:
            took = self.measuring_seconds + time.monotonic() - started
            self._so_far = self._so_far.model_copy(update={"measuring_seconds": took})

    def forget(self) -> None:
        """Go on from nothing."""
        self.states.remove()
        self._so_far = _SoFar()
        self._write()

    @contextmanager
    def searching(self) -> Iterator[Callable[[tuple[SearchedRate, ...]], None]]:
        """Search inside, and hand what was found to what is given: it is not searched again."""
        started = time.monotonic()

        def keep(searched: tuple[SearchedRate, ...]) -> None:
            took = time.monotonic() - started
            self._so_far = self._so_far.model_copy(update={"searched": searched, "search_seconds": took})
            self._write()

        yield keep

    @contextmanager
    def keeping(self, meter: Meter) -> Iterator[None]:
        """However what is inside ends early, write down what was used by then; a refused one is not gone on with."""
        try:
            yield
        except BaseException as error:
            with suppress(OSError):  # a full disk: the error that ends it is the one to tell
                if isinstance(error, RefusedArtifact):
                    self.forget()
                    self.clear()
                else:
                    self._keep(meter)
            raise

    def noting(self, watch: Watch, meter: Meter, every: float = 10.0) -> Watch:
        """`watch`, and now and then what was used so far is written down, for a process that is killed."""
        due = time.monotonic() + every

        def noted(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            nonlocal due
            if time.monotonic() >= due:
                self._keep(meter, learning=stage in _LEARNING)
                due = time.monotonic() + every
            watch(stage, done, total, figures)

        return noted

    def write(self, record: TrainingRecord, curve: Sequence[CurvePoint], cache: Path) -> None:
        """The record, which is published with the weights that lie here; bill and curve, for people."""
        record.write(self.folder)
        write_bill(record, self.folder, curve, cache)

    def clear(self) -> None:
        """Remove what nobody needs any more: weights that are in the store or were refused, and the state."""
        for weights in self.folder.glob("*.safetensors*"):
            weights.unlink()
        (self.folder / _SO_FAR).unlink(missing_ok=True)
        self.states.remove()

    def _keep(self, meter: Meter, *, learning: bool = False) -> None:
        spent = meter.spent()
        peak = max(self._so_far.learning_peak, meter.peak) if learning else self._so_far.learning_peak
        self._so_far = self._so_far.model_copy(update={"spent": spent, "learning_peak": peak})
        self._write()

    def _write(self) -> None:
        beside = self.folder / f"{_SO_FAR}.new"
        try:
            beside.write_text(self._so_far.model_dump_json(), encoding="utf-8")
            beside.rename(self.folder / _SO_FAR)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
