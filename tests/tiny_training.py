"""Trainings of tiny models, by every technique, that take a second."""

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from adapters.answer_loss import answer_tokens, loss_sum
from adapters.base_model import BaseModelInfo, describe, locate_base_model
from adapters.dataset import Item
from adapters.learning import learn
from adapters.learning_state import StateFile
from adapters.manifest import AdapterManifest
from adapters.mixing import plan
from adapters.recipe import METHODS, Recipe, read_recipe
from adapters.techniques import begin
from adapters.techniques.trainee import Model, Trainee
from adapters.train import train
from adapters.training_loop import Plan
from ragtune.settings import Settings
from ragtune.versions import Version
from service.trial import answer
from tests.tiny import save_tiny

PAD = 2
EVERY = [method for method in METHODS if method != "qlora"]  # which needs a GPU
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "partial": {"layers": 2},
    "lora": {"rank": 4, "dropout": 0.1},
    "dora": {"rank": 4, "rslora": True},
    "prompt_tuning": {"virtual_tokens": 4, "init_text": "Be brief."},
    "p_tuning": {"virtual_tokens": 4, "encoder": "lstm"},
    "prefix_tuning": {"virtual_tokens": 4, "projection": True},
}
TASKS = ("sums", "words")


def recipe(method: str, **fields: object) -> Recipe:
    """A short one with the options above, unless its section is among the `fields`."""
    own = {method: OPTIONS.get(method, {}), "batch_tokens": 60, "validation_share": 0}
    return Recipe.model_validate({"name": "x", "method": method, "train": "x", **own, **fields})


def base_in(folder: Path, family: str = "llama") -> BaseModelInfo:
    """A tiny base model of this family, saved once."""
    place = folder / family
    return describe(place if place.exists() else save_tiny(place, family), folder / "cache", family)


def items(count: int = 24, start: int = 0) -> list[Item]:
    """Examples of two tasks, of different lengths, whose answers follow from their prompts."""
    made = []
    for n in range(start, start + count):
        prompt = tuple(40 + (n * k) % 90 for k in range(1, 4 + n % 5))
        made.append(Item(str(n), prompt, (prompt[0], 200 + n % 2, PAD), TASKS[n % 3 // 2]))
    return made


def moved(trainee: Trainee, by: float = 0.1) -> Trainee:
    """Off its neutral start, where half of what is learned has no gradient yet."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trainee.learned.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=by)
    return trainee


def steps(of: Recipe, count: int = 8) -> Plan:
    """The first few steps of a training on `items`."""
    return plan(items(), of.model_copy(update={"epochs": 9, "max_steps": count}))


def silent(_stage: str, _done: int, _total: int, _figures: Mapping[str, float]) -> None:
    """Nobody is watching."""


def main() -> None:
    """`python -m tests.tiny_training FOLDER METHOD`: train slowly, saying each step, so that it can be killed."""
    folder, method = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    wanted = recipe(method, checkpoint_every=2)

    def watch(_stage: str, done: int, _total: int, _figures: Mapping[str, float]) -> None:
        print(done, flush=True)
        time.sleep(0.2)

    trainee = begin(wanted, base_in(folder))
    learn(trainee, steps(wanted), items(4, 90), wanted, pad=PAD, watch=watch, states=StateFile(folder / "run", "same"))


if __name__ == "__main__":
    main()


def batch_loss(model: Model, batch: Sequence[Item], pad: int) -> Tensor:
    """Mean cross entropy over the answer tokens of the batch, as one scalar."""
    return loss_sum(model, batch, pad) / answer_tokens(batch)


def train_from_file(path: Path, settings: Settings) -> Version[AdapterManifest]:
    """`ragtune train` without a job, tried on the engine."""
    recipe, written = read_recipe(path)
    engine = partial(answer, settings, locate_base_model(settings))
    return train(recipe, written, settings, watch=lambda *_: None, served=engine)
