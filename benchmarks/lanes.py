"""A mixed batch of base, two lanes and two LoRAs in one engine against three engines in turn, and what a lane weighs.

The lanes are fine-tunes of the top quarter of the layers. 30 distinct requests, 6 of each mode, 32 prompt and 33 new
tokens each, end of sequence ignored, prefix cache cold, fp32, interleaved rounds, medians. In turn means: one engine
with the base model and the LoRAs, then one with each fine-tuned checkpoint as its base model.

    python benchmarks/lanes.py [--rounds 5]
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from adapters.base_model import BaseModelInfo, locate_base_model
from adapters.preparing import Preparing
from ragtune.settings import Settings
from ragtune.wire import Sampling
from service.catalog import staged_reference
from service.engine.engine import Engine
from service.engine.kv_blocks import KVBlocks
from service.engine.messages import AdapterRef, Generation
from service.engine.runner import BLOCK, Runner, choose_device
from service.engine.scheduler import Scheduler

EACH, PROMPT, NEW = 6, 32, 33


def checkpoint(base: BaseModelInfo, folder: Path, seed: int) -> Path:
    """A seeded fine-tune of the top quarter of the layers."""
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    layers = model.config.num_hidden_layers
    top = tuple(f"model.layers.{layer}." for layer in range(layers - layers // 4, layers))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(top):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * parameter.std(), alpha=0.01)
    model.save_pretrained(folder)
    return folder


def lora(base: BaseModelInfo, folder: Path, seed: int) -> Path:
    """A seeded LoRA, rank 8 on all linear layers."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def runner_of(folder: Path, device: torch.device) -> Runner:
    """The engine's runner over a model folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Runner(model.to(device), 1024, device)


def run(runner: Runner, weights: list[AdapterRef | None], prompts: torch.Tensor) -> float:
    """Seconds from the first admission to the last token of one batch."""
    scheduler = Scheduler(KVBlocks(1024, BLOCK), step_tokens=512, max_running=64)
    engine = Engine(scheduler, runner, ThreadPoolExecutor(1), time.perf_counter, 4096)
    started = time.perf_counter()
    for i, ref in enumerate(weights):
        sampling = Sampling(max_tokens=NEW, ignore_eos=True)
        engine.admit(Generation(str(i), tuple(prompts[i].tolist()), sampling, ref))
    while engine.busy:
        engine.step()
    return time.perf_counter() - started


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    """Interleaved rounds; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = choose_device("auto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        base = locate_base_model(Settings.load())
        sources = {f"lane-{n}": checkpoint(base, folder / f"lane-{n}", n) for n in range(2)}
        sources |= {f"lora-{n}": lora(base, folder / f"lora-{n}", n) for n in range(2)}
        preparing, refs, own = Preparing(base), {}, {}
        for mode, source in sources.items():
            (folder / f"store-{mode}").mkdir()
            manifest = preparing.prepare(source, folder / f"store-{mode}")
            refs[mode], own[mode] = staged_reference(mode, folder / f"store-{mode}", manifest), manifest.memory
        del preparing
        runner = runner_of(base.folder, device)
        alone = [runner_of(sources[mode], device) for mode in ("lane-0", "lane-1")]
        grown = []
        for mode in ("lora-0", "lora-1", "lane-0", "lane-1"):
            before = resident()
            runner.add(runner.read(refs[mode]))
            grown.append(resident() - before)
        lane_bytes = runner.loaded[refs["lane-0"].key].bytes
    kinds = [None, refs["lora-0"], refs["lora-1"], refs["lane-0"], refs["lane-1"]]
    mixed: list[AdapterRef | None] = [kind for kind in kinds for _ in range(EACH)]
    times: dict[str, list[float]] = {"mixed": [], "in_turn": []}
    for round_number in range(args.rounds + 1):  # the first warms up and is not counted
        generator = torch.Generator().manual_seed(round_number)
        prompts = torch.randint(3, 49000, (len(mixed), PROMPT), generator=generator)
        together = run(runner, mixed, prompts)
        in_turn = run(runner, mixed[: 3 * EACH], prompts)
        for n, other in enumerate(alone):
            in_turn += run(other, [None] * EACH, prompts[(3 + n) * EACH :])
        print(f"round {round_number}: mixed {together:.2f} s, in turn {in_turn:.2f} s", file=sys.stderr)
        if round_number:
            times["mixed"].append(together)
            times["in_turn"].append(in_turn)
    speedups = [turn / mix for turn, mix in zip(times["in_turn"], times["mixed"], strict=True)]
    tokens = len(mixed) * NEW
    figures = {
        "mixed_over_in_turn": round(statistics.median(speedups), 3),
        "spread": [round(min(speedups), 3), round(max(speedups), 3)],
        "mixed_tokens_per_second": round(tokens / statistics.median(times["mixed"]), 1),
        "in_turn_tokens_per_second": round(tokens / statistics.median(times["in_turn"]), 1),
        "lane_bytes": lane_bytes,
        "own_tensors_bytes": own["lane-0"],
        "process_grew_bytes": grown[2:],
    }
    print(json.dumps(figures | {"device": str(device), "rounds": args.rounds}))


if __name__ == "__main__":
    main()
