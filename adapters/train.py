"""Training from a recipe to a published adapter, readable from top to bottom.

python -m adapters.train recipe.toml
"""

import argparse
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as library_version
from pathlib import Path

import torch
from pydantic import JsonValue

from adapters.acceptance import check_saved
from adapters.base_model import BaseModelInfo, locate_base_model
from adapters.dataset import Item, Rendered, Search, data_hash, render_all
from adapters.example_files import read_all
from adapters.learning import learn
from adapters.manifest import AdapterManifest, TrainingRecord
from adapters.mixing import plan
from adapters.recipe import Recipe, read_recipe
from adapters.registry import Adapters
from adapters.techniques import begin
from adapters.tokenizer import Tokenizer, load_tokenizer
from indexer.embedding import load_embedder
from indexer.record import Found
from indexer.rerank import load_reranker
from indexer.retriever import Retriever
from indexer.search import Search as Asked
from indexer.store import Indexes, IndexManifest
from ragtune.errors import RagtuneError
from ragtune.mode import Mode, Ref
from ragtune.prompt import rendering_hash
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.template import Template
from ragtune.templates import Templates
from ragtune.terminal import progress, say
from ragtune.versions import Version
from ragtune.wire import Retrieving

_LIBRARIES = ("torch", "transformers", "peft")


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

    steps: int
    tokens: int
    seconds: float
    trainable: int
    last_loss: float


def train_from_file(path: Path, settings: Settings) -> Version[AdapterManifest]:
    """Train the recipe in `path` and publish the adapter. On any error nothing is published.

    Raises RefusedArtifact for a recipe, data or training that is no good, UnknownName for an index or a template.
    """
    recipe, written = read_recipe(path)
    examples = read_all(recipe).train
    database = Database(settings.database)
    base = locate_base_model(settings)
    adapters = Adapters(settings.home, database, base, [settings.runs])
    adapters.versions.check_free(recipe.name)
    tokenizer = load_tokenizer(base.folder)
    threads = settings.threads or torch.get_num_threads()
    context = _resolve(recipe, settings, database)
    budget = recipe.passage_tokens or settings.passage_tokens
    rendered = render_all(examples, context.template, tokenizer, context.search, budget, recipe.max_tokens)
    _report(rendered)
    torch.set_num_threads(threads)  # FAISS was told to use one thread, and may share its OpenMP runtime with torch
    folder = settings.runs / f"{recipe.name}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    trained = _train(recipe, rendered.items, base, tokenizer.eos_ids[0], folder, settings.device)
    _record(recipe, written, rendered.items, context, base, tokenizer, trained).write(folder)
    return adapters.add(recipe.name, folder)


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
    rendered.show()


def _train(recipe: Recipe, items: list[Item], base: BaseModelInfo, pad: int, folder: Path, device: str) -> Trained:
    """Train, save, and make sure that what was saved is what was trained."""
    trainee = begin(recipe, base, device)
    say(f"{trainee.description}: {trainee.trainable:,} of {trainee.total:,} parameters learn")
    with progress(f"training {recipe.name}", None) as bar:

        def watch(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            bar.stage(stage, done, total)
            bar.describe(f"loss {figures['loss']:.3f}, {figures['tokens_per_second']:.0f} tokens/s")

        learned = learn(trainee, plan(items, recipe), [], recipe, pad=pad, watch=watch)
    few = max(1, min(10, learned.steps // 4))
    first, last = (sum(p.loss for p in part) / few for part in (learned.curve[:few], learned.curve[-few:]))
    rate, memory = learned.tokens / learned.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    say(f"loss {first:.3f} -> {last:.3f} in {learned.steps} steps, {rate:.0f} tokens/s, peak memory {memory:.1f} GB")
    trainee.save(folder)
    check_saved(trainee, folder, items, pad, load_tokenizer(base.folder).eos_ids)
    return Trained(learned.steps, learned.tokens, learned.seconds, trainee.trainable, last)


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
        steps=trained.steps,
        examples=len(items),
        tokens=trained.tokens,
        trainable_parameters=trained.trainable,
        final_loss=trained.last_loss,
        versions={library: library_version(library) for library in _LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def main() -> None:
    """Entry point of `python -m adapters.train`; the last line on stdout is the published version."""
    parser = argparse.ArgumentParser(description="Train an adapter from a recipe.")
    parser.add_argument("recipe", type=Path)
    try:
        print(train_from_file(parser.parse_args().recipe, Settings.load()))
    except RagtuneError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
