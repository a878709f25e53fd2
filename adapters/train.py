"""Training from a recipe to a published adapter, readable from top to bottom."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from pydantic import JsonValue

from adapters.acceptance import Answered, check_saved, check_served
from adapters.answer_loss import task_losses, together
from adapters.base_model import locate_base_model
from adapters.dataset import Item
from adapters.forgetting import forgetting, general, general_of_base
from adapters.learning import Learned, Watch, learn
from adapters.manifest import AdapterManifest, Forgetting, SearchedRate
from adapters.material import Material, gather
from adapters.meter import Meter
from adapters.preparing import Preparing
from adapters.recipe import Recipe
from adapters.registry import Adapters
from adapters.run_folder import RunFolder, identity_of
from adapters.techniques.loading import load_base, on_cuda
from adapters.techniques.trainee import Files, Model, Trainee
from adapters.training_record import Done, record_of
from adapters.trials import alone, best_rate, search_steps
from adapters.trials import search as search_rates
from ragtune.errors import StorageFull
from ragtune.mode import Mode, Ref
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import say
from ragtune.versions import Version

Served = Callable[[Path, AdapterManifest, Sequence[Sequence[int]]], list[list[int]]]
"""What the real engine answers to these prompts with the adapter in a folder: new tokens, greedy."""


@dataclass(frozen=True)
class Wishes:
    """What is asked for beside the recipe: rates to choose among first, each task trained alone to compare with, and
    whether what an interrupted training left is not to be gone on from."""

    rates: tuple[float, ...] = ()
    interference: bool = False
    fresh: bool = False


def train(
    recipe: Recipe,
    written: Mapping[str, JsonValue],
    settings: Settings,
    *,
    watch: Watch,
    served: Served,
    author: str = "",
    alias: str | None = None,
    wishes: Wishes = Wishes(),
) -> Version[AdapterManifest]:
    """Train, make sure that what was saved is served as it was trained, and publish, with `alias` pointing there then.

    On any error nothing is published; a training that was ended goes on where it was when it is started again. Raises
    RefusedArtifact for data or a training that is no good, UnknownName for an index or a template, StorageFull, and
    what `watch` raises.
    """
    database = Database(settings.database)
    base = locate_base_model(settings)
    adapters = Adapters(settings.home, database, base, [settings.runs])
    adapters.versions.check_free(recipe.name)
    with Meter(gpu=on_cuda(settings.device)) as meter:
        made = gather(recipe, settings, base, database, watch)
        if settings.training_threads:  # FAISS was told to use one thread, and may share its OpenMP runtime with torch
            torch.set_num_threads(settings.training_threads)
        rates = (f"{rate!r}" for rate in wishes.rates)
        run = RunFolder.of(settings.runs, recipe, identity_of(recipe, made.data.sha256, base.fingerprint, *rates))
        meter.go_on_from(run.spent)
        if wishes.fresh:
            run.forget()
        with run.keeping(meter):
            done, saved = _learn(made, run, wishes, meter, run.noting(watch, meter))
            run.write(record_of(written, made, done, meter.spent()), done.learned.curve, settings.cache)
            watch("checking", 0, 1, {})
            with adapters.versions.staging() as staged:
                manifest = Preparing(base).prepare(run.folder.resolve(), staged)
                answers = served(staged, manifest, [each.prompt for each in saved.answered])
                check_served(saved.answered, answers, lambda: saved.files.plain(run.folder))
                watch("publishing", 0, 1, {})  # the last moment to be stopped in
                version = adapters.publish(recipe.name, staged, manifest, author)
    return _settled(version, run, adapters, alias, author)


def mode_of(version: Version[AdapterManifest]) -> Mode:
    """The mode in which prompts look as they did in training: with its index and its template."""
    record = version.manifest.training
    index, template = (record.index, record.template) if record else (None, None)
    return Mode(
        adapters=(Ref(version.name),),
        template=Ref(Ref.parse(template).name) if template else None,
        rag=index is not None,
        index=Ref(Ref.parse(index).name) if index else None,
    )


@dataclass(frozen=True)
class _Saved:
    """How what was trained is read again, and what it answered then."""

    files: Files
    answered: tuple[Answered, ...]


def _learn(made: Material, run: RunFolder, wishes: Wishes, meter: Meter, watch: Watch) -> tuple[Done, _Saved]:
    """The rate chosen, the model trained, saved into the run's folder, loaded again, and looked at from all sides."""
    recipe, data = made.recipe, made.data
    trainee = made.begin()
    say(f"{trainee.description}: {trainee.trainable:,} of {trainee.total:,} parameters are trained")
    searched = _search(made, run, wishes.rates, trainee, watch)
    rate = best_rate(searched) if searched else recipe.rate
    learned = learn(
        trainee, made.steps, data.validation, recipe, pad=made.pad, watch=watch, rate=rate, states=run.states
    )
    peak = max(meter.peak, run.learning_peak)  # what comes now loads the model again to look at it
    _tell(learned)
    trainee.save(run.folder)
    answered = check_saved(trainee, run.folder, data.train, made.pad, made.tokenizer.eos_ids)
    model = trainee.files.plain(run.folder) if trainee.files.quantised else trainee.model
    with run.measuring():
        train_loss = _train_loss(made, model)
        forgotten = _forgetting(made, model, watch) if recipe.forgetting else None
    done = Done(
        learned=learned,
        searched=searched,
        search_seconds=run.search_seconds,
        measuring_seconds=run.measuring_seconds,
        peak_memory=peak,
        artifact_bytes=_artifact_bytes(trainee, run.folder),
        trainable=trainee.trainable,
        total=trainee.total,
        train_loss=train_loss,
        forgetting=forgotten,
        alone={},
    )
    saved = _Saved(trainee.files, answered)
    del trainee, model  # the next ones need the room
    if wishes.interference:
        with run.measuring():
            alone = _alone(made, learned, watch)
        done = replace(done, alone=alone, measuring_seconds=run.measuring_seconds)
    return done, saved


def _search(
    made: Material, run: RunFolder, rates: Sequence[float], trainee: Trainee, watch: Watch
) -> tuple[SearchedRate, ...]:
    """Short runs at each rate; those of a training that is gone on with are known."""
    if not rates:
        return ()
    if run.searched is None:
        steps = search_steps(made.steps)
        with run.searching() as keep:
            keep(
                search_rates(trainee, steps, made.data.validation, made.recipe, rates=rates, pad=made.pad, watch=watch)
            )
    found = run.searched or ()
    for each in found:
        reached = "diverged" if each.validation_loss is None else f"loss {each.validation_loss:.3f}"
        say(f"learning rate {each.learning_rate:g}: {reached} after {each.steps} steps")
    return found


def _train_loss(made: Material, model: Model) -> float:
    """On as many examples as are kept aside, so that the two losses can be compared."""
    count = min(len(made.data.validation) or made.recipe.validation_limit, len(made.data.train))
    drawn: list[Item] = random.Random(made.recipe.seed).sample(list(made.data.train), count)
    return together(list(task_losses(model, drawn, made.pad, made.recipe.batch_tokens).values())).mean


def _forgetting(made: Material, model: Model, watch: Watch) -> Forgetting:
    watch("looking at what was forgotten", 0, 0, {})
    before = general_of_base(
        made.base,
        made.tokenizer,
        made.settings.cache,
        lambda: load_base(made.base, packed=False, device=made.settings.device),
    )
    return forgetting(before, general(model, made.tokenizer))


def _alone(made: Material, learned: Learned, watch: Watch) -> dict[str, float]:
    data = made.data
    if len(data.sizes) < 2:
        say("there is one task: nothing to train alone and to compare with")
        return {}
    steps = made.steps[: learned.steps]
    return alone(
        made.begin(), data.train, steps, data.validation, made.recipe, rate=learned.rate, pad=made.pad, watch=watch
    )


def _settled(
    version: Version[AdapterManifest], run: RunFolder, adapters: Adapters, alias: str | None, author: str
) -> Version[AdapterManifest]:
    """What comes once it is published, and cannot undo that: the alias, and the room that is not needed any more."""
    try:
        run.clear()
    except OSError as error:
        say(f"{version} is published; what is left in {run.folder} can be deleted: {error.strerror}")
    if alias is None:
        return version
    try:
        return adapters.versions.set_alias(version.name, alias, version.number, author=author)
    except StorageFull as error:
        raise StorageFull(
            f"{version} is published, but the disk is full: make room, then 'ragtune adapter alias {version} {alias}'"
        ) from error


def _artifact_bytes(trainee: Trainee, folder: Path) -> int:
    """What is kept: of a fine-tune the tensors that were trained, in fp32, else the file PEFT wrote."""
    if not isinstance(trainee.model, PeftModel):
        return 4 * trainee.trainable
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _tell(learned: Learned) -> None:
    few = max(1, min(10, learned.steps // 4))
    first, last = (sum(p.loss for p in part) / few for part in (learned.curve[:few], learned.curve[-few:]))
    pace = f"in {learned.steps} steps, {learned.tokens / learned.seconds:.0f} tokens/s"
    early = f", ended early: the best was step {learned.best_step}" if learned.stopped_early else ""
    looked = "" if learned.validation is None else f", validation loss {learned.validation:.3f}"
    say(f"loss {first:.3f} -> {last:.3f}{looked} {pace}{early}")
