"""What is written down of a training: how it came about, and its bill."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path

import torch
from pydantic import JsonValue

from adapters.curve import thinned
from adapters.learning import Learned
from adapters.manifest import Bill, Forgetting, SearchedRate, TaskBill, TrainingRecord
from adapters.material import Material
from adapters.meter import Spent, machine
from adapters.recipe import Recipe
from ragtune.prompt import rendering_hash

_SENT = re.compile(r"sent-[0-9a-f]{64}\.jsonl")  # examples that came over HTTP
_LIBRARIES = ("ragtune", "torch", "transformers", "tokenizers", "peft", "safetensors")


@dataclass(frozen=True)
class Done:
    """What came of the learning: `peak_memory` in bytes while it learned, losses in nats a token, `alone` by task."""

    learned: Learned
    searched: tuple[SearchedRate, ...]
    search_seconds: float
    measuring_seconds: float
    peak_memory: int
    artifact_bytes: int
    trainable: int
    total: int
    train_loss: float
    forgetting: Forgetting | None
    alone: Mapping[str, float]


def record_of(written: Mapping[str, JsonValue], made: Material, done: Done, spent: Spent) -> TrainingRecord:
    """The record of a training that used `spent`."""
    learned, recipe = done.learned, made.recipe
    return TrainingRecord(
        base_fingerprint=made.base.fingerprint,
        base_id=made.base.id,
        method=recipe.method,
        recipe={**written, **_paths(written, recipe)},
        data_sha256=made.data.sha256,
        rendering_hash=rendering_hash(made.context.template, made.tokenizer),
        template=made.context.template_version,
        index=made.context.index_version,
        seconds=round(learned.seconds, 2),
        steps=learned.steps,
        examples=len(made.data.train),
        tokens=learned.tokens,
        trainable_parameters=done.trainable,
        final_loss=learned.curve[-1].loss,
        seed=recipe.seed,
        bill=_bill(made, done, spent),
        versions={library: library_version(library) for library in _LIBRARIES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _paths(written: Mapping[str, JsonValue], recipe: Recipe) -> dict[str, JsonValue]:
    """Where the data that the recipe names was, for whoever looks for it later and from elsewhere."""
    found: dict[str, JsonValue] = {"train": [_place(path) for path in recipe.train]}
    found |= {"heldout": [_place(path) for path in recipe.heldout]}
    if recipe.validation is not None:
        found["validation"] = _place(recipe.validation)
    return {name: paths for name, paths in found.items() if name in written}


def _place(path: Path) -> str:
    """Of examples that were sent along the name alone: who reads the record knows no folder of the home."""
    return path.name if _SENT.fullmatch(path.name) else str(path)


def _bill(made: Material, done: Done, spent: Spent) -> Bill:
    learned, hourly_rate = done.learned, made.settings.hourly_rate
    return Bill(
        wall_seconds=round(spent.wall_seconds, 2),
        search_seconds=round(done.search_seconds, 2),
        measuring_seconds=round(done.measuring_seconds, 2),
        cpu_seconds=round(spent.cpu_seconds, 2),
        gpu_seconds=spent.gpu_seconds,
        peak_memory=done.peak_memory,
        gpu_peak_memory=spent.gpu_peak_memory,
        tokens=learned.tokens,
        answer_tokens=learned.answer_tokens,
        tokens_per_second=round(learned.tokens / learned.seconds, 1),
        trainable_parameters=done.trainable,
        total_parameters=done.total,
        artifact_bytes=done.artifact_bytes,
        hourly_rate=hourly_rate,
        price=spent.price(hourly_rate),
        learning_rate=learned.rate,
        searched=done.searched,
        best_step=learned.best_step,
        stopped_early=learned.stopped_early,
        train_loss=done.train_loss,
        validation_loss=learned.validation,
        tasks=_tasks(made, done),
        forgetting=done.forgetting,
        curve=thinned(learned.curve),
        duplicates=made.data.duplicates.counts,
        machine=machine(spent, torch.get_num_threads()),
    )


def _tasks(made: Material, done: Done) -> dict[str, TaskBill]:
    drawn = Counter(item.task for step in made.steps for batch in step for item in batch)
    return {
        task: TaskBill(
            examples=size,
            share=drawn[task] / drawn.total(),
            validation_loss=done.learned.tasks.get(task),
            alone=done.alone.get(task),
        )
        for task, size in made.data.sizes.items()
    }
