"""One training as a job: the recipe's adapter trained, tried on the engine, published.

    python -m service.training --job ID

The service starts it so, niced and on a bounded number of threads. It can be ended at any moment: it hears that between
two steps, and what it had learned by then is kept, so that another one of the same recipe goes on there.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from adapters.manifest import AdapterManifest
from adapters.recipe import Recipe, parse_recipe
from indexer.store import Indexes
from ragtune.errors import Cancelled, RagtuneError
from ragtune.full_disk import full_disk_told
from ragtune.job import Kind, in_words
from ragtune.jobs import Jobs
from ragtune.mode import Ref
from ragtune.roots import inside
from ragtune.running_job import RunningJob
from ragtune.settings import Settings
from ragtune.stopping import held_back
from ragtune.store import Database
from ragtune.templates import Templates
from ragtune.versions import Version, Versions

JOB: Kind = "training"
Tell = Callable[[str, int, int, Mapping[str, float]], None]
MOST_RATES = 32
_UNITS = {"reading": "examples", "checking": "checks", "publishing": "versions"}
_SENT = re.compile(r"sent-[0-9a-f]{64}\.jsonl")
_EVERY = 10.0  # seconds between two lines of a stage in the log


class TrainingSpec(BaseModel):
    """What a training is asked to do. `recipe` is as it was written, `search` are learning rates to choose among, with
    `interference` each task is trained alone, too, to be compared.

    Relative data paths are taken from `folder`. Without one the recipe came over HTTP: its paths are absolute and
    inside RAGTUNE_TRAINING_ROOTS, or name examples that were sent along. `fresh` does not go on with a training that
    was ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: dict[str, JsonValue]
    folder: str | None = None
    alias: str | None = None
    search: tuple[float, ...] = Field(default=(), max_length=MOST_RATES)
    interference: bool = False
    fresh: bool = False

    def read(self, settings: Settings) -> Recipe:
        """The recipe with its data paths absolute. Raises RefusedArtifact naming a field that is no good, and Forbidden
        for a path outside the roots."""
        recipe = parse_recipe(self.recipe)
        if self.folder is not None:
            return recipe.beside(Path(self.folder))
        paths = {name: tuple(_allowed(path, name, settings) for path in getattr(recipe, name)) for name in _SEVERAL}
        validation = None if recipe.validation is None else _allowed(recipe.validation, "validation", settings)
        return recipe.model_copy(update={**paths, "validation": validation})


_SEVERAL = ("train", "heldout")


def resource(adapter: str) -> str:
    """What a training locks: one at a time makes versions of an adapter."""
    return f"adapter:{adapter}"


def sent_examples(settings: Settings) -> Path:
    """Where examples that came over HTTP are kept until their training is done."""
    return settings.runs / "sent"


def check_named(recipe: Recipe, templates: Templates, indexes: Indexes) -> None:
    """Raises UnknownName for a template or an index that is not there."""
    if recipe.template is not None:
        templates.get(Ref.parse(recipe.template), param="recipe.template")
    if recipe.index is not None:
        indexes.resolve(Ref.parse(recipe.index), param="recipe.index")


def bounded(settings: Settings, *, beside: bool) -> Settings:
    """With the number of threads a training may have here, `beside` a service or with the machine to itself."""
    from service.engine.threads import processors

    many = len(processors())
    threads = settings.training_threads or (max(1, many // 2) if beside else many)
    return settings.model_copy(update={"training_threads": threads})


def carry_out(running: RunningJob, settings: Settings, tell: Tell) -> Version[AdapterManifest]:
    """Do the job, and `tell` how far it is. `settings` are `bounded`.

    Raises what `adapters.train.train` raises, Cancelled if the job is to stop, StorageFull if the disk is full.
    """
    from adapters.base_model import locate_base_model
    from adapters.following import follow
    from adapters.train import Wishes, train
    from service.trial import answer

    spec = TrainingSpec.model_validate(running.job.spec)
    Versions(settings.home, Database(settings.database), "adapter", AdapterManifest).collect_staging()
    with full_disk_told(settings.home), held_back() as look:

        def watch(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            look()
            running.progress(done, total or None, unit=unit(stage), stage=stage, figures=figures)
            tell(stage, done, total, figures)

        version = train(
            spec.read(settings),
            spec.recipe,
            settings,
            watch=watch,
            served=partial(answer, settings, locate_base_model(settings)),
            author=running.job.author,
            alias=spec.alias,
            wishes=Wishes(spec.search, spec.interference, spec.fresh),
        )
        running.result = {"version": str(version)}
        if spec.alias is not None:
            running.result |= {"alias": f"{version.name}@{spec.alias}"}
    follow(settings, version.name)
    return version


def unit(stage: str) -> str:
    """What a stage counts."""
    return _UNITS.get(stage, "steps")


class Diary:
    """Writes how far a training is on the standard error, which is the job's log: a line at the beginning and the end
    of a stage, and now and then between."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._next = 0.0

    def tell(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Told of every step."""
        if stage == self._stage and done != total and self._clock() < self._next:
            return
        self._stage, self._next = stage, self._clock() + _EVERY
        amount = f"{done:,} of {total:,} {unit(stage)}" if total else ""
        line = ", ".join(part for part in (amount, *in_words(figures)) if part)
        print(f"{time.strftime('%H:%M:%S')} {stage}{f' {line}' if line else ' ...'}", file=sys.stderr, flush=True)


def _allowed(path: Path, field: str, settings: Settings) -> Path:
    if _SENT.fullmatch(str(path)):
        return sent_examples(settings) / path
    return inside(path, settings.training_roots, "RAGTUNE_TRAINING_ROOTS", f"recipe.{field}")


def main() -> None:
    """Entry point of `python -m service.training`; what went wrong stands in the job."""
    parser = argparse.ArgumentParser(description="Do a training that the service has queued.")
    parser.add_argument("--job", required=True)
    job_id, settings = parser.parse_args().job, Settings.load()
    try:
        with Jobs(Database(settings.database), settings.home).take(job_id) as running:
            from service.engine.threads import limit

            settings = bounded(settings, beside=True)
            limit(settings.training_threads)
            carry_out(running, settings, Diary().tell)
    except (RagtuneError, Cancelled) as error:
        sys.exit(error.message)
    except KeyboardInterrupt:
        sys.exit("ended; what it had learned is kept, and it can be resumed")


if __name__ == "__main__":
    main()
