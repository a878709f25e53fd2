"""From a training that is asked for over HTTP to one that has begun: what can be refused is refused before it has.

Examples that are sent along are kept in the home, under a name that is their hash, as long as a training that was sent
with them may be resumed; what no such training wants is removed when others are sent.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from adapters.example_files import read_all
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact
from ragtune.examples import Example
from ragtune.full_disk import full_disk_told
from ragtune.job import Job
from ragtune.job_table import KEPT
from ragtune.mode import check_alias
from ragtune.roots import inside
from service.parts import Parts
from service.training import JOB, TrainingSpec, bounded, check_named, resource, sent_examples

_COMMAND = ("service.training",)
_JUST_SENT = 3600.0  # seconds in which examples may not have a job yet


async def submit(parts: Parts, spec: TrainingSpec, author: str, resumes: str | None = None) -> Job:
    """Begin a training, in a process of its own, once those that were asked for before have ended.

    Raises RefusedArtifact for data that cannot be read, with its line, or a method this machine cannot do, UnknownName
    for an index or a template, Forbidden for a path outside the roots, InvalidRequest for a name that is taken, and
    AlreadyRunning while there is a training of this adapter.
    """
    try:
        recipe = await asyncio.to_thread(_checked, parts, spec)
    except RefusedArtifact as error:  # whoever sent examples knows no file of ours
        place = f"{sent_examples(parts.settings)}{os.sep}"
        raise RefusedArtifact(error.message.replace(place, ""), param=error.param) from error
    asked = spec.model_dump(mode="json")
    queued = await parts.workers.queue(JOB, resource(recipe.name), asked, author=author, tenant="", resumes=resumes)
    parts.workers.start_in_turn(queued, _COMMAND, bounded(parts.settings, beside=True).training_threads)
    return queued.job


async def keep(parts: Parts, examples: Sequence[Example]) -> str:
    """Write examples down; the name that a recipe knows them by. Raises StorageFull."""
    return await asyncio.to_thread(_keep, parts, examples)


def _keep(parts: Parts, examples: Sequence[Example]) -> str:
    lines = "".join(f"{example.model_dump_json(exclude_defaults=True)}\n" for example in examples)
    folder = sent_examples(parts.settings)
    name = f"sent-{hashlib.sha256(lines.encode()).hexdigest()}.jsonl"
    with full_disk_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _forget_done(parts, folder)
        beside = folder / f".{name}.{time.monotonic_ns()}"
        try:
            beside.write_text(lines, encoding="utf-8")
            beside.rename(folder / name)
        finally:
            beside.unlink(missing_ok=True)
    return name


def _forget_done(parts: Parts, folder: Path) -> None:
    """Remove what no training that could still be resumed was sent with."""
    trainings = parts.jobs.newest(KEPT, kind=JOB)
    wanted = " ".join(str(job.spec) for job in trainings if job.state != "succeeded")
    for path in folder.iterdir():
        if path.name not in wanted and path.stat().st_mtime < time.time() - _JUST_SENT:
            path.unlink(missing_ok=True)


def _checked(parts: Parts, spec: TrainingSpec) -> Recipe:
    recipe = spec.read(parts.settings)
    if spec.alias is not None:
        check_alias(spec.alias)
    parts.adapters.versions.check_free(recipe.name)
    parts.jobs.check_free(resource(recipe.name))
    if recipe.method == "qlora" and parts.engine.info.device != "cuda":
        raise RefusedArtifact(
            f"method 'qlora' needs a CUDA GPU and bitsandbytes, and this service runs on {parts.engine.info.device}; "
            "use 'lora'",
            param="recipe.method",
        )
    check_named(recipe, parts.templates, parts.indexes)
    for field, path in _data(recipe):
        if path.parent != sent_examples(parts.settings):  # also of a command's training that is resumed from here
            inside(path, parts.settings.training_roots, "RAGTUNE_TRAINING_ROOTS", f"recipe.{field}")
    read_all(recipe)
    return recipe


def _data(recipe: Recipe) -> Iterable[tuple[str, Path]]:
    yield from (("train", path) for path in recipe.train)
    yield from (("heldout", path) for path in recipe.heldout)
    if recipe.validation is not None:
        yield "validation", recipe.validation
