"""Training from a recipe to a published adapter, readable from top to bottom."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from pydantic import JsonValue

from adapters.acceptance import Answered, check_saved, check_served
from adapters.answer_loss import task_losses, together
from adapters.base_model import BaseModelInfo, locate_base_model
from adapters.context import Context, resolve
from adapters.dataset import Item
from adapters.forgetting import forgetting, general, general_of_base
from adapters.learning import Learned, Watch, learn
from adapters.manifest import AdapterManifest, Forgetting, SearchedRate
from adapters.meter import Meter
from adapters.mixing import Step, plan
from adapters.preparing import Preparing
from adapters.recipe import Recipe, read_recipe
from adapters.registry import Adapters
from adapters.run_folder import RunFolder, identity_of
from adapters.techniques import begin
from adapters.techniques.loading import load_base, on_cuda
from adapters.techniques.trainee import Trainee
from adapters.tokenizer import Tokenizer, load_tokenizer
from adapters.training_data import Data, prepare
from adapters.training_record import Done, record_of
from adapters.trials import alone, best_rate, search_steps
from adapters.trials import search as search_rates
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


@dataclass(frozen=True)
class Material:
    """All that a training is made of."""

    recipe: Recipe
    settings: Settings
    base: BaseModelInfo
    tokenizer: Tokenizer
    context: Context
    data: Data
    steps: list[Step]

    @property
    def pad(self) -> int:
        """The token that fills rows; nothing sees it."""
        return self.tokenizer.eos_ids[0]

    def begin(self) -> Trainee:
        """The model as it starts, which is the same each time."""
        return begin(self.recipe, self.base, self.settings.device)


def train(
    recipe: Recipe,
    written: Mapping[str, JsonValue],
    settings: Settings,
    *,
    watch: Watch,
    served: Served | None,
    author: str = "",
    alias: str | None = None,
    wishes: Wishes = Wishes(),
) -> Version[AdapterManifest]:
    """Train, make sure that what was saved is served as it was trained, and publish, with `alias` pointing there then.

    Without `served` the engine is not asked. On any error nothing is published; a training that was ended goes on where
    it was when it is started again. Raises RefusedArtifact for data or a training that is no good, UnknownName for an
    index or a template, StorageFull, and what `watch` raises.
    """
    database = Database(settings.database)
    base = locate_base_model(settings)
    adapters = Adapters(settings.home, database, base, [settings.runs])
    adapters.versions.check_free(recipe.name)
    made = gather(recipe, settings, base, database, watch)
    if settings.training_threads:  # FAISS was told to use one thread, and may share its OpenMP runtime with torch
        torch.set_num_threads(settings.training_threads)
    run = RunFolder.of(settings.runs, recipe, identity_of(recipe, made.data.sha256, base.fingerprint, *_words(wishes)))
    if wishes.fresh:
        run.forget()
    with Meter(run.spent, gpu=on_cuda(settings.device)) as meter, run.keeping(meter):
        done, answered = _learn(made, run, wishes, meter, run.noting(watch, meter))
    record = record_of(recipe, written, made, done, settings.hourly_rate, meter.spent())
    record.write(run.folder)
    watch("checking", 0, 1, {})
    with adapters.versions.staging() as staged:
        manifest = Preparing(base).prepare(run.folder.resolve(), staged)
        if served is not None:
            prompts = [each.prompt for each in answered]
            check_served(answered, served(staged, manifest, prompts), _plain(made, run.folder))
        watch("checking", 1, 1, {})
        version = adapters.publish(recipe.name, staged, manifest, author)
    if alias is not None:
        version = adapters.versions.set_alias(version.name, alias, version.number, author=author)
    run.finish(record, done.learned.curve, settings.cache)
    return version


def gather(recipe: Recipe, settings: Settings, base: BaseModelInfo, database: Database, watch: Watch) -> Material:
    """Names resolved, files read, prompts rendered, steps planned; what was found is told."""
    watch("reading", 0, 0, {})
    tokenizer = load_tokenizer(base.folder)
    context = resolve(recipe, settings, database)
    data = prepare(
        recipe, context.template, tokenizer, context.knowledge, lambda stage, done, all_: watch(stage, done, all_, {})
    )
    data.show()
    return Material(recipe, settings, base, tokenizer, context, data, plan(data.train, recipe))


def check(recipe: Recipe, settings: Settings) -> None:
    """Read, compare, render and count the data as `train` would, and say what was found; nothing is trained."""
    made = gather(recipe, settings, locate_base_model(settings), Database(settings.database), lambda *_: None)
    tokens = sum(item.length for step in made.steps for batch in step for item in batch)
    say(f"it would take {len(made.steps):,} steps over {tokens:,} tokens")


def train_from_file(path: Path, settings: Settings) -> Version[AdapterManifest]:
    """`train` for whoever has nobody to watch, and no engine."""
    recipe, written = read_recipe(path)
    return train(recipe, written, settings, watch=lambda *_: None, served=None)


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


def _learn(
    made: Material, run: RunFolder, wishes: Wishes, meter: Meter, watch: Watch
) -> tuple[Done, tuple[Answered, ...]]:
    """The rate chosen, the model trained, saved into the run's folder, loaded again, and looked at from all sides."""
    recipe, data = made.recipe, made.data
    trainee = made.begin()
    say(f"{trainee.description}: {trainee.trainable:,} of {trainee.total:,} parameters are trained")
    searched = _search(made, run, wishes.rates, trainee, watch)
    rate = best_rate(searched) if searched else recipe.rate
    learned = learn(
        trainee, made.steps, data.validation, recipe, pad=made.pad, watch=watch, rate=rate, states=run.states
    )
    peak = meter.spent().peak_memory  # of the training: what comes now loads the model again to look at it
    _tell(learned)
    train_loss = _train_loss(made, trainee)
    forgotten = _forgetting(made, trainee, watch) if recipe.forgetting else None
    trainee.save(run.folder)
    answered = check_saved(trainee, run.folder, data.train, made.pad, made.tokenizer.eos_ids)
    sizes = (_artifact_bytes(trainee, run.folder), trainee.trainable, trainee.total)
    del trainee  # the next ones need the room
    compared = _alone(made, rate, watch) if wishes.interference else {}
    return Done(learned, searched, run.search_seconds, peak, *sizes, train_loss, forgotten, compared), answered


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


def _train_loss(made: Material, trainee: Trainee) -> float:
    """On as many examples as are kept aside, so that the two losses can be compared."""
    count = min(len(made.data.validation) or made.recipe.validation_limit, len(made.data.train))
    drawn: list[Item] = random.Random(made.recipe.seed).sample(list(made.data.train), count)
    return together(list(task_losses(trainee.model, drawn, made.pad, made.recipe.batch_tokens).values())).mean


def _forgetting(made: Material, trainee: Trainee, watch: Watch) -> Forgetting:
    watch("looking at what was forgotten", 0, 0, {})
    before = general_of_base(
        made.base,
        made.tokenizer,
        made.settings.cache,
        lambda: load_base(made.base, packed=False, device=made.settings.device),
    )
    return forgetting(before, general(trainee.model, made.tokenizer))


def _alone(made: Material, rate: float, watch: Watch) -> dict[str, float]:
    data = made.data
    return alone(
        made.begin(), data.train, made.steps, data.validation, made.recipe, rate=rate, pad=made.pad, watch=watch
    )


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


def _plain(made: Material, folder: Path) -> Callable[[], torch.nn.Module]:
    files = made.begin().files
    return lambda: files.plain(folder)


def _words(wishes: Wishes) -> tuple[str, ...]:
    """What of the wishes decides the result."""
    return (*(f"{rate!r}" for rate in wishes.rates), *(["interference"] if wishes.interference else []))
