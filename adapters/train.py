"""Training from a recipe to a published adapter, readable from top to bottom."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as library_version
from pathlib import Path

import torch
from peft import PeftModel
from pydantic import JsonValue

from adapters.base_model import BaseModelInfo, locate_base_model
from adapters.dataset import Item, Rendered, Search, data_hash, render_all, select
from adapters.manifest import AdapterManifest, TrainingRecord
from adapters.preparing import Preparing
from adapters.recipe import Recipe, read_recipe
from adapters.registry import Adapters
from adapters.techniques import load_base, reload, save, wrap
from adapters.tokenizer import Tokenizer, load_tokenizer
from adapters.training_loop import Step, batch_loss, plan
from adapters.training_loop import train as steps_of
from indexer.embedding import load_embedder
from indexer.record import Found
from indexer.rerank import load_reranker
from indexer.retriever import Retriever
from indexer.search import Search as Asked
from indexer.store import Indexes, IndexManifest
from ragtune.errors import RefusedArtifact
from ragtune.mode import Mode, Ref
from ragtune.prompt import rendering_hash
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.template import Template
from ragtune.templates import Templates
from ragtune.terminal import say
from ragtune.versions import Version
from ragtune.wire import Retrieving

Watch = Callable[[str, int, int, Mapping[str, float]], None]
"""Told a stage, how many of how many units of it are done (0: nobody knows), and figures. May raise, as Cancelled."""
Served = Callable[[Path, AdapterManifest, Sequence[Sequence[int]]], list[list[int]]]
"""What the real engine answers to these prompts with the adapter in a folder: new tokens, greedy."""

_LIBRARIES = ("torch", "transformers", "peft")
_RELOAD_TOLERANCE = 1e-3  # nats; the served and the trained loss differ by rounding only


@dataclass(frozen=True)
class Context:
    """What the recipe's names resolved to: template and index pinned, and how to search."""

    template: Template
    template_version: str | None
    index_version: str | None
    search: Search | None


@dataclass(frozen=True)
class Trained:
    """What the training loop did."""

    steps: list[Step]
    seconds: float
    trainable: int
    last_loss: float


def train(
    recipe: Recipe,
    written: Mapping[str, JsonValue],
    settings: Settings,
    *,
    watch: Watch,
    served: Served,
    author: str = "",
    alias: str | None = None,
    search: Sequence[float] = (),  # noqa: ARG001
    fresh: bool = False,  # noqa: ARG001
) -> Version[AdapterManifest]:
    """Train and publish, with `alias` pointing to the new version then. On any error nothing is published.

    Raises RefusedArtifact for data or a training that is no good, UnknownName for an index or a template, and what
    `watch` raises.
    """
    watch("reading", 0, 0, {})
    examples = select(recipe.train[0], recipe.task, recipe.limit, recipe.seed)
    database = Database(settings.database)
    base = locate_base_model(settings)
    adapters = Adapters(settings.home, database, base, [settings.runs])
    adapters.versions.check_free(recipe.name)
    tokenizer = load_tokenizer(base.folder)
    threads = settings.training_threads or torch.get_num_threads()
    context = _resolve(recipe, settings, database)
    budget = recipe.passage_tokens or settings.passage_tokens
    rendered = render_all(examples, context.template, tokenizer, context.search, budget, recipe.max_tokens)
    _report(rendered)
    torch.set_num_threads(threads)  # FAISS was told to use one thread, and may share its OpenMP runtime with torch
    folder = settings.runs / f"{recipe.name}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    trained = _train(recipe, rendered.items, base, tokenizer.eos_ids[0], folder, settings.device, watch)
    _record(recipe, dict(written), rendered.items, context, base, tokenizer, trained).write(folder)
    watch("checking", 0, 1, {})
    with adapters.versions.staging() as staged:
        manifest = Preparing(base).prepare(folder.resolve(), staged)
        if not all(served(staged, manifest, [item.prompt for item in rendered.items[:2]])):
            raise RefusedArtifact("the engine answers nothing with what was trained; nothing was published")
        watch("checking", 1, 1, {})
        version = adapters.publish(recipe.name, staged, manifest, author)
    if alias is None:
        return version
    return adapters.versions.set_alias(version.name, alias, version.number, author=author)


def check(recipe: Recipe, settings: Settings) -> None:
    """Read, render and count the data as `train` would, and say what was found; nothing is trained."""
    database = Database(settings.database)
    examples = select(recipe.train[0], recipe.task, recipe.limit, recipe.seed)
    context, tokenizer = _resolve(recipe, settings, database), load_tokenizer(locate_base_model(settings).folder)
    budget = recipe.passage_tokens or settings.passage_tokens
    _report(render_all(examples, context.template, tokenizer, context.search, budget, recipe.max_tokens))


def train_from_file(path: Path, settings: Settings) -> Version[AdapterManifest]:
    """`train` for tests that have nobody to watch, and no engine."""
    recipe, written = read_recipe(path)
    return train(recipe, written, settings, watch=lambda *_: None, served=lambda *_: [[0]])


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


def _resolve(recipe: Recipe, settings: Settings, database: Database) -> Context:
    template = Templates(settings.home, database).get(Ref.parse(recipe.template)) if recipe.template else None
    indexes = Indexes(settings.home, database)
    index = indexes.resolve(Ref.parse(recipe.index)) if recipe.index else None
    search: Search | None = None
    if index is not None:
        say(f"retrieving passages from {index} for every example ...")
        search = partial(
            _search,
            Retriever(load_embedder(settings), load_reranker(settings), indexes.documents.hidden),
            index,
            recipe,
            settings,
        )
    return Context(
        template=template.manifest.template if template else Template.default(settings),
        template_version=str(template) if template else None,
        index_version=str(index) if index else None,
        search=search,
    )


def _search(
    retriever: Retriever, index: Version[IndexManifest], recipe: Recipe, settings: Settings, query: str
) -> list[Found]:
    """As the service searches under these settings, but for the recipe's `top_k`."""
    return retriever.search(index, Asked.under(settings, query, Retrieving(top_k=recipe.top_k)))


def _report(rendered: Rendered) -> None:
    lengths = sorted(item.length for item in rendered.items)
    say(f"{len(lengths)} examples, {sum(lengths):,} tokens: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}")
    for ids, why in (
        (rendered.too_long, "are longer than max_tokens"),
        (rendered.unsupported, "have an answer that stands in none of their passages"),
    ):
        if ids:
            say(f"left out: {len(ids)} examples {why}: {', '.join(ids[:5])}{' ...' if len(ids) > 5 else ''}")


def _train(
    recipe: Recipe, items: list[Item], base: BaseModelInfo, pad: int, folder: Path, device: str, watch: Watch
) -> Trained:
    """Train, save, and make sure that what was saved is what was trained."""
    model = wrap(load_base(base, packed=True, device=device), recipe, base)
    trainable, everything = model.get_nb_trainable_parameters()
    say(f"{recipe.method}: {trainable:,} trainable parameters, {trainable / everything:.2%} of {everything:,}")
    steps, seconds = _run(model, plan(items, recipe), recipe, pad, watch)
    few = max(1, min(10, len(steps) // 4))
    first, last = (sum(s.loss for s in part) / few for part in (steps[:few], steps[-few:]))
    rate, memory = sum(s.tokens for s in steps) / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    say(f"loss {first:.3f} -> {last:.3f} in {len(steps)} steps, {rate:.0f} tokens/s, peak memory {memory:.1f} GB")
    save(model, folder, base)
    _check_reload(model, reload(folder, base, device), plan(items, recipe)[0], pad)
    return Trained(steps, seconds, trainable, last)


def _run(
    model: PeftModel, batches: list[list[Item]], recipe: Recipe, pad: int, watch: Watch
) -> tuple[list[Step], float]:
    """All steps, watched, and the seconds they took."""
    steps: list[Step] = []
    started = time.monotonic()
    watch("training", 0, len(batches), {})
    for step in steps_of(model, batches, recipe, pad):
        steps.append(step)
        recent = steps[-10:]
        rate = sum(s.tokens for s in steps) / (time.monotonic() - started)
        loss = sum(s.loss for s in recent) / len(recent)
        watch("training", step.number, len(batches), {"loss": loss, "tokens_per_second": rate})
    return steps, time.monotonic() - started


def _record(
    recipe: Recipe,
    written: dict[str, JsonValue],
    items: list[Item],
    context: Context,
    base: BaseModelInfo,
    tokenizer: Tokenizer,
    trained: Trained,
) -> TrainingRecord:
    return TrainingRecord(
        base_fingerprint=base.fingerprint,
        base_id=base.id,
        method=recipe.method,
        recipe=written,
        data_sha256=data_hash(items),
        rendering_hash=rendering_hash(context.template, tokenizer),
        template=context.template_version,
        index=context.index_version,
        seconds=round(trained.seconds, 2),
        steps=len(trained.steps),
        examples=len(items),
        tokens=sum(step.tokens for step in trained.steps),
        trainable_parameters=trained.trainable,
        final_loss=trained.last_loss,
        versions={library: library_version(library) for library in _LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _check_reload(model: PeftModel, reloaded: PeftModel, items: list[Item], pad: int) -> None:
    """Compare the loss of what plain PEFT loads again. Raises RefusedArtifact if it is not what was trained."""
    with torch.no_grad():
        trained, loaded = (float(batch_loss(m, items, pad)) for m in (model, reloaded))
    if not abs(trained - loaded) <= _RELOAD_TOLERANCE:  # so written, it catches losses that are no numbers, too
        raise RefusedArtifact(f"the saved adapter has loss {loaded:.4f} where the trained one has {trained:.4f}")
