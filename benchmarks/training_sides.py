"""One side of benchmarks/training.py in a process of its own: ragtune's loop, TRL's SFTTrainer, or a plain loop.

All three start from the same LoRA (PEFT's initial weights by the same seed) on SmolLM2 in fp32, and make the same
AdamW steps at a constant rate: no decay, gradients clipped at 1, no gradient checkpointing, loss on the answers only.

    python benchmarks/training_sides.py ours|trl|plain JOB.json       (one JSON object on stdout)
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from adapters.base_model import locate_base_model
from adapters.dataset import Item
from adapters.learning import learn
from adapters.mixing import plan
from adapters.recipe import parse_recipe
from adapters.techniques import begin
from ragtune.settings import Settings

RATE, RANK, ALPHA, SEED = 5e-4, 16, 32, 0
Trained = tuple[PeftModel, list[float], list[float]]  # the model, the loss of every step, when every step ended


def ours(job: dict[str, Any], folder: Path, pad: int) -> Trained:
    """ragtune: the steps as given, or its own of `batch_size` rows, in pieces of like length."""
    given = {"name": "benchmark", "method": "lora", "train": "-", "learning_rate": RATE, "seed": SEED}
    given |= {"schedule": "constant", "warmup": 0.0, "lora": {"rank": RANK, "alpha": ALPHA}}
    recipe = parse_recipe(given | {"batch_size": job["batch_size"]})
    steps = [[batch] for batch in job["steps"]] if job["as_given"] else plan(list(chain(*job["steps"])), recipe)
    trainee, ends = begin(recipe, locate_base_model(Settings.load()), "cpu"), [time.monotonic()]
    learned = learn(trainee, steps, [], recipe, pad=pad, watch=lambda *_: ends.append(time.monotonic()))
    return trainee.model, [point.loss for point in learned.curve], ends


def trl(job: dict[str, Any], folder: Path, pad: int) -> Trained:
    """SFTTrainer on the rows in the order given, unless the job's `trl` options say otherwise."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    ends: list[float] = []

    class Ends(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            ends.append(time.monotonic())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.monotonic())

    items = list(chain(*job["steps"]))
    rows = {
        "input_ids": [[*item.prompt, *item.answer] for item in items],
        "completion_mask": [[0] * len(item.prompt) + [1] * len(item.answer) for item in items],
    }
    equal = {"learning_rate": RATE, "lr_scheduler_type": "constant", "optim": "adamw_torch", "weight_decay": 0.0}
    equal |= {"max_grad_norm": 1.0, "seed": SEED, "bf16": False, "gradient_checkpointing": False, "use_cpu": True}
    equal |= {"completion_only_loss": True, "max_length": None, "loss_type": "nll", "num_train_epochs": 1}
    quiet = {"report_to": "none", "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True}
    quiet |= {"dataloader_pin_memory": False}
    rows_a_step = len(job["steps"][0])
    own = {"train_sampling_strategy": "sequential", "per_device_train_batch_size": rows_a_step, **job["trl"]}
    own |= {"gradient_accumulation_steps": rows_a_step // own["per_device_train_batch_size"]}
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            begun(folder),
            SFTConfig(scratch, **equal, **quiet, **own),
            train_dataset=Dataset.from_dict(rows),
            processing_class=AutoTokenizer.from_pretrained(folder),
            callbacks=[Ends()],
        )
        args, model = trainer.args, trainer.model
        assert not (args.bf16 or args.fp16 or args.gradient_checkpointing or model.is_gradient_checkpointing)
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        assert "fused" in model.get_base_model().forward.__func__.__code__.co_name, "not TRL's chunked loss"
        assert trainer.data_collator.pad_token_id == pad
        trainer.train()
    return model, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], ends


def plain(job: dict[str, Any], folder: Path, pad: int) -> Trained:
    """The loop of many tutorials: a padded batch, labels of -100 on the prompts, transformers' own loss."""
    model = begun(folder).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser, losses, ends = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0), [], [time.monotonic()]
    for batch in job["steps"]:
        longest = max(item.length for item in batch)
        ids = torch.tensor([[*i.prompt, *i.answer, *[pad] * (longest - i.length)] for i in batch])
        labels = [[-100] * len(i.prompt) + [*i.answer] + [-100] * (longest - i.length) for i in batch]
        mask = torch.tensor([[1] * i.length + [0] * (longest - i.length) for i in batch])
        loss = model(input_ids=ids, attention_mask=mask, labels=torch.tensor(labels), use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        ends.append(time.monotonic())
    return model, losses, ends


def begun(folder: Path) -> PeftModel:
    """The LoRA as it starts, by PEFT and transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(SEED)
    return get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    )


def validation_loss(model: PeftModel, items: list[Item]) -> float:
    """Nats an answer token, one item at a time, with transformers' own forward."""
    nats = 0.0
    with torch.no_grad():
        for item in items:
            logits = model.eval()(input_ids=torch.tensor([[*item.prompt, *item.answer]]), use_cache=False).logits[0]
            answers = torch.tensor(item.answer)
            nats += F.cross_entropy(logits[len(item.prompt) - 1 : -1], answers, reduction="sum").item()
    return nats / sum(len(item.answer) for item in items)


SIDES: dict[str, Callable[[dict[str, Any], Path, int], Trained]] = {"ours": ours, "trl": trl, "plain": plain}


def main() -> None:
    """Train, then say losses, seconds of every step, peak memory in bytes, and the validation loss if asked."""
    job = json.loads(Path(sys.argv[2]).read_text())
    job["steps"] = [[Item(*row) for row in batch] for batch in job["steps"]]
    folder = locate_base_model(Settings.load()).folder
    torch.set_num_threads(job["threads"])
    model, losses, ends = SIDES[sys.argv[1]](job, folder, AutoTokenizer.from_pretrained(folder).pad_token_id)
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # getrusage's may be the parent's
    seconds = [after - before for before, after in pairwise(ends)]
    validation = [Item(*row) for row in job["validation"]]
    found = {"losses": losses, "seconds": seconds, "peak": int(peak[1]) * 1024 if peak else None}
    print(json.dumps({**found, "validation": validation_loss(model, validation) if validation else None}))


if __name__ == "__main__":
    main()
