"""Tokens per second of a mixed batch against PEFT: 32 distinct requests at once, 32 prompt and 33 new tokens each.

End of sequence ignored, prefix cache cold, fp32, interleaved rounds, medians. (a) base only, (b) four LoRAs mixed,
(c) LoRAs, soft prompts and base mixed; against PEFT: `adapter_names` in one static batch, `set_adapter` one by one.

    python benchmarks/mixed_modes.py [--rounds 5] [--random-weights]     # random weights need no model, as on a GPU
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from adapters.base_model import locate_base_model
from ragtune.settings import Settings
from ragtune.wire import Sampling
from service.engine.engine import Engine
from service.engine.kv_blocks import KVBlocks
from service.engine.messages import AdapterRef, Generation
from service.engine.runner import BLOCK, Runner, choose_device
from service.engine.scheduler import Scheduler

REQUESTS, PROMPT, NEW, LORAS, SOFT = 32, 32, 33, 4, 2
SMOLLM2 = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
SMOLLM2 |= {"num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192}


def prepare(args: argparse.Namespace, folder: Path) -> tuple[Path, list[AdapterRef], list[AdapterRef]]:
    """The base model's folder and seeded random adapters, saved by PEFT."""
    torch.manual_seed(0)
    if args.random_weights:
        base = folder / "base"
        LlamaForCausalLM(LlamaConfig(**SMOLLM2, tie_word_embeddings=True)).save_pretrained(base)
    else:
        base = locate_base_model(Settings.load()).folder
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear", init_lora_weights=False)
    wrapped = get_peft_model(model, lora, adapter_name="lora-0")
    for i in range(1, LORAS):
        wrapped.add_adapter(f"lora-{i}", lora)
    wrapped.save_pretrained(folder)
    loras = [AdapterRef(f"lora-{i}@1", folder / f"lora-{i}", "lora") for i in range(LORAS)]
    base_model = wrapped.unload()
    for i in range(SOFT):
        soft = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=16)
        get_peft_model(base_model, soft).save_pretrained(folder / f"soft-{i}")
    return base, loras, [AdapterRef(f"soft-{i}@1", folder / f"soft-{i}", "soft_prompt", 16) for i in range(SOFT)]


def ours(runner: Runner, modes: list[tuple[AdapterRef | None, AdapterRef | None]], prompts: torch.Tensor) -> float:
    """Tokens per second of one batch through the engine, from the first admission to the last token."""
    scheduler = Scheduler(KVBlocks(1024, BLOCK), step_tokens=512, max_running=64)
    engine = Engine(scheduler, runner, ThreadPoolExecutor(1), time.perf_counter, 4096)
    started = time.perf_counter()
    for i, (weights, prefix) in enumerate(modes):
        sampling = Sampling(max_tokens=NEW, ignore_eos=True)
        engine.admit(Generation(str(i), tuple(prompts[i].tolist()), sampling, weights, prefix))
    while engine.busy:
        engine.step()
    return REQUESTS * NEW / (time.perf_counter() - started)


def peft(model: PeftModel, prompts: torch.Tensor, static: bool) -> float:
    """Tokens per second of PEFT: one static batch with `adapter_names`, or `set_adapter` and one request at a time."""
    names = [f"lora-{i % LORAS}" for i in range(REQUESTS)]
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    started = time.perf_counter()
    if static:
        model.generate(input_ids=prompts, attention_mask=torch.ones_like(prompts), adapter_names=names, **options)
    else:
        for name, prompt in zip(names, prompts, strict=True):
            model.set_adapter(name)
            model.generate(input_ids=prompt[None], attention_mask=torch.ones_like(prompt[None]), **options)
    return REQUESTS * NEW / (time.perf_counter() - started)


def main() -> None:
    """Five interleaved rounds; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--random-weights", action="store_true", help="SmolLM2's shape, seeded random weights")
    args = parser.parse_args()
    device = choose_device("auto")
    with tempfile.TemporaryDirectory() as name:
        base, loras, soft = prepare(args, Path(name))
        runner = Runner.from_folder(base, 1024, device)
        for ref in (*loras, *soft):
            runner.add(runner.read(ref))
        peer = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), loras[0].folder, adapter_name="lora-0"
        )
        for i, ref in enumerate(loras[1:], start=1):
            peer.load_adapter(ref.folder, adapter_name=f"lora-{i}")
        peer = peer.to(device).eval()
    four = [(loras[i % LORAS], None) for i in range(REQUESTS)]
    kinds = [(None, None), *((lora, None) for lora in loras), *((None, s) for s in soft), (loras[0], soft[0])]
    runs = {
        "base_tps": lambda p: ours(runner, [(None, None)] * REQUESTS, p),
        "lora_tps": lambda p: ours(runner, four, p),
        "mixed_tps": lambda p: ours(runner, [kinds[i % len(kinds)] for i in range(REQUESTS)], p),
        "peft_static_tps": lambda p: peft(peer, p.to(device), static=True),
        "peft_sequential_tps": lambda p: peft(peer, p.to(device), static=False),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(args.rounds + 1):  # the first warms up and is not counted
        prompts = torch.randint(3, 49000, (REQUESTS, PROMPT), generator=torch.Generator().manual_seed(round_number))
        for name, run in runs.items():
            if round_number == 0 and name == "peft_sequential_tps":
                continue
            rate = run(prompts)
            if round_number > 0:
                rates[name].append(rate)
            print(f"round {round_number}: {name} {rate:.0f}", file=sys.stderr)
    figures: dict[str, object] = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    figures["spread"] = {name: [round(min(values), 1), round(max(values), 1)] for name, values in rates.items()}
    figures["ratios"] = {
        f"{a} / {b}": round(statistics.median(x / y for x, y in zip(rates[a], rates[b], strict=True)), 3)
        for a, b in (
            ("lora_tps", "peft_static_tps"),
            ("lora_tps", "peft_sequential_tps"),
            ("lora_tps", "base_tps"),
            ("mixed_tps", "base_tps"),
        )
    }
    print(json.dumps(figures | {"device": str(device), "rounds": args.rounds, "random_weights": args.random_weights}))


if __name__ == "__main__":
    main()
