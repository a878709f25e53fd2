"""What 50 additions, replacements, alias flips, rollbacks and deletions do to 16 streams: one run quiet, one busy.

The same arrivals in both: each of 16 slots asks the same questions, in the same modes, one after the other, from the
same moments on. Streams that named a version which is replaced meanwhile must not notice. A text that differs from the
quiet run's is a changed stream, unless the two best tokens were within 1e-3 where it first differs. At the end every
adapter is deleted, and the engine's own counter says what is left.

    python benchmarks/hot_swap.py [--seconds 60] [--operations 50]
"""

import argparse
import asyncio
import json
import math
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from adapters.base_model import locate_base_model
from ragtune.commands import Commands
from ragtune.settings import Settings

SLOTS, PERIOD, TOKENS, MARGIN = 16, 7.5, 96, 1e-3
MODES = ("base", "steady-a", "steady-b+steady-soft", "swapped-a@1", "swapped-b@1", "steady-soft", "swapped-soft@1")


@dataclass
class Said:
    """One answer: tokens as they came, when, and by how much the best led the second best."""

    tokens: list[str] = field(default_factory=list)
    leads: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    failure: str | None = None


def make_adapters(folder: Path, count: int) -> dict[str, list[Path]]:
    """Seeded LoRAs of rank 8 on all linear layers, and soft prompts of 16 tokens, saved by PEFT."""
    model = AutoModelForCausalLM.from_pretrained(locate_base_model(Settings.load()).folder, dtype=torch.float32)
    made: dict[str, list[Path]] = {"lora": [], "soft": []}
    for number in range(count):
        torch.manual_seed(number)
        lora = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear")
        wrapped = get_peft_model(model, lora)
        with torch.no_grad():
            for name, parameter in wrapped.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0.0, 0.005)
        wrapped.save_pretrained(folder / f"lora-{number}")
        model = wrapped.unload()
        made["lora"].append(folder / f"lora-{number}")
        soft = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=16))
        with torch.no_grad():
            soft.prompt_encoder["default"].embedding.weight.normal_(0.0, 0.1)
        soft.save_pretrained(folder / f"soft-{number}")
        model = soft.get_base_model()
        made["soft"].append(folder / f"soft-{number}")
    return made


async def stream(client: httpx.AsyncClient, mode: str, number: int) -> Said:
    """One streamed completion."""
    said = Said()
    body = {"model": mode, "prompt": f"Story number {number}. Once", "max_tokens": TOKENS, "temperature": 0}
    body |= {"ignore_eos": True, "stream": True, "logprobs": 2}
    try:
        async with client.stream("POST", "/v1/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise RuntimeError(chunk["error"]["message"])
                for choice in chunk["choices"]:
                    logprobs = choice.get("logprobs") or {"tokens": [], "top_logprobs": []}
                    said.tokens += logprobs["tokens"]
                    for best in logprobs["top_logprobs"]:
                        first, second = sorted(best.values(), reverse=True)[:2] if len(best) > 1 else (0.0, -math.inf)
                        said.leads.append(first - second)
                    if logprobs["tokens"]:
                        said.times.append(time.perf_counter())
    except (httpx.HTTPError, RuntimeError) as error:
        said.failure = repr(error)
    if said.failure is None and len(said.tokens) != TOKENS:
        said.failure = f"{len(said.tokens)} tokens of {TOKENS}"
    return said


async def slot(client: httpx.AsyncClient, index: int, began: float, seconds: float) -> list[Said]:
    """One request after the other, none before its time."""
    answers = []
    for turn in range(int(seconds // PERIOD)):
        await asyncio.sleep(max(0.0, began + turn * PERIOD + index * PERIOD / SLOTS - time.perf_counter()))
        answers.append(await stream(client, MODES[(index + turn) % len(MODES)], 100 * index + turn))
    return answers


async def operate(client: httpx.AsyncClient, made: dict[str, list[Path]], count: int, seconds: float) -> list[str]:
    """`count` operations evenly over the run, of all kinds; returns what each was and how long it took."""
    chance, began, added, done = random.Random(0), time.perf_counter(), [], []
    fresh = {kind: iter(folders[3:]) for kind, folders in made.items()}
    swapped = {"swapped-a": "lora", "swapped-b": "lora", "swapped-soft": "soft"}
    for number in range(count):
        await asyncio.sleep(max(0.0, began + 2 + number * (seconds - 8) / count - time.perf_counter()))
        what = ("add", "replace", "flip", "replace", "add", "rollback", "delete", "flip", "add", "delete")[number % 10]
        name, kind = chance.choice(list(swapped.items()))
        started = time.perf_counter()
        if what == "add":
            name, kind = f"added-{number}", chance.choice(["lora", "soft"])
            added.append(name)
            response = await client.put(f"/v1/adapters/{name}", json={"path": str(next(fresh[kind]))})
        elif what == "replace":
            response = await client.put(f"/v1/adapters/{name}", json={"path": str(next(fresh[kind]))})
        elif what == "flip":
            versions = (await client.get(f"/v1/adapters/{name}/versions")).json()
            number_of = int(chance.choice(versions)["version"].partition("@")[2])
            response = await client.put(f"/v1/adapters/{name}/aliases/prod", json={"version": number_of})
        elif what == "rollback":
            response = await client.post(f"/v1/adapters/{name}/rollback", json={})
        else:
            response = await client.delete(f"/v1/adapters/{added.pop(0)}")
        if response.is_error and response.status_code != 422:  # a rollback may have nothing to go back to
            response.raise_for_status()
        done.append(f"{what} {response.status_code} {time.perf_counter() - started:.2f} s")
    return done


async def one_run(url: str, made: dict[str, list[Path]], args: argparse.Namespace, busy: bool) -> list[list[Said]]:
    """All slots, and beside them the operations if it is the busy run."""
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        began = time.perf_counter()
        slots = [asyncio.create_task(slot(client, index, began, args.seconds)) for index in range(SLOTS)]
        if busy:
            done = await operate(client, made, args.operations, args.seconds)
            running = sum(not task.done() for task in slots)
            print("\n".join(done), file=sys.stderr)
            assert running, "the streams ended before the operations: more --seconds"
        return list(await asyncio.gather(*slots))


async def empty(url: str) -> int:
    """Delete every adapter; the bytes that the engine still counts."""
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        for adapter in (await client.get("/v1/adapters")).json():
            (await client.delete(f"/v1/adapters/{adapter['name']}")).raise_for_status()
        engine = (await client.get("/v1/engine")).json()
        return int(engine["adapter_bytes"] + engine["stacked_bytes"])


def changed(quiet: Said, busy: Said) -> tuple[bool, bool]:
    """(whether the texts differ where the quiet run's choice was clear, whether they differ at a near-tie only)."""
    for at, (a, b) in enumerate(zip(quiet.tokens, busy.tokens, strict=False)):
        if a != b:
            clear = quiet.leads[at] > MARGIN
            return clear, not clear
    return False, False


def gaps(run: list[list[Said]]) -> list[float]:
    """Seconds between neighbouring tokens of the same answer, sorted."""
    return sorted(b - a for answers in run for said in answers for a, b in pairwise(said.times))


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def main() -> None:
    """A warm-up, a quiet run, a busy run; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--operations", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        made = make_adapters(folder, 3 + args.operations)
        environ = {**os.environ, "RAGTUNE_HOME": str(folder / "home"), "RAGTUNE_ADAPTER_ROOTS": str(folder)}
        first = {"steady-a": made["lora"][0], "steady-b": made["lora"][1], "swapped-a": made["lora"][2]}
        first |= {"swapped-b": made["lora"][1], "steady-soft": made["soft"][0], "swapped-soft": made["soft"][1]}
        with Commands(environ).serve(folder / "log") as url:
            for adapter, path in first.items():  # starts the prover, too
                httpx.put(f"{url}/v1/adapters/{adapter}", json={"path": str(path)}, timeout=300).raise_for_status()
            short = argparse.Namespace(seconds=2 * PERIOD, operations=0)
            asyncio.run(one_run(url, made, short, busy=False))
            quiet = asyncio.run(one_run(url, made, args, busy=False))
            busy = asyncio.run(one_run(url, made, args, busy=True))
            leaked = asyncio.run(empty(url))
    pairs = [(a, b) for one, other in zip(quiet, busy, strict=True) for a, b in zip(one, other, strict=True)]
    verdicts = [changed(a, b) for a, b in pairs]
    failures = [said.failure for pair in pairs for said in pair if said.failure]
    print("\n".join(failures), file=sys.stderr)
    p99 = {what: percentile(gaps(run), 0.99) for what, run in (("quiet", quiet), ("busy", busy))}
    figures = {
        "failed_streams": len(failures),
        "changed_streams": sum(clear for clear, _ in verdicts),
        "near_ties": sum(tie for _, tie in verdicts),
        "p99_gap_ratio": round(p99["busy"] / p99["quiet"], 3),
        "leaked_bytes": leaked,
        **{f"{what}_p99_gap_ms": round(1e3 * value, 1) for what, value in p99.items()},
        **{
            f"{what}_median_gap_ms": round(1e3 * percentile(gaps(run), 0.5), 1)
            for what, run in (("quiet", quiet), ("busy", busy))
        },
        **{f"{what}_longest_gap_ms": round(1e3 * gaps(run)[-1], 1) for what, run in (("quiet", quiet), ("busy", busy))},
    }
    print(json.dumps(figures | {"streams": len(pairs), "operations": args.operations, "seconds": args.seconds}))


if __name__ == "__main__":
    main()
