"""Registering an adapter while 16 streams run: does a stream fail, and how long is the longest pause between tokens?

A real server on SmolLM2, two runs with the same requests: one quiet, one in which a LoRA is registered (checked,
copied, published, loaded) again and again, each time with other bytes, so each time as a new version.

    python benchmarks/register_while_streaming.py [--streams 16] [--tokens 160] [--registrations 4]
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import httpx
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from adapters.base_model import locate_base_model
from ragtune.demo.commands import Commands
from ragtune.settings import Settings


def make_loras(folder: Path, count: int) -> list[Path]:
    """`count` random LoRAs, rank 8 on all linear layers, saved by PEFT."""
    model = AutoModelForCausalLM.from_pretrained(locate_base_model(Settings.load()).folder, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(0)
    for number in range(count):
        wrapped = get_peft_model(model, config)
        wrapped.save_pretrained(folder / f"lora-{number}")
        model = wrapped.unload()
    return [folder / f"lora-{number}" for number in range(count)]


async def stream(client: httpx.AsyncClient, number: int, tokens: int) -> list[float]:
    """The arrival times of one stream's pieces of text. Raises if it fails or is cut short."""
    body = {"model": "base", "prompt": f"Story number {number}. Once", "max_tokens": tokens, "temperature": 0}
    times: list[float] = []
    request = client.stream("POST", "/v1/completions", json=body | {"ignore_eos": True, "stream": True})
    async with request as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise RuntimeError(chunk["error"]["message"])
                times.append(time.perf_counter())
            elif line == "data: [DONE]":
                return times
    raise RuntimeError("the stream was cut short")


async def run(url: str, args: argparse.Namespace, folders: list[Path]) -> dict[str, float]:
    """All streams at once, and the registrations one after the other while they run."""
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        streams = [asyncio.create_task(stream(client, n, args.tokens)) for n in range(args.streams)]
        await asyncio.sleep(1.5)
        took = []
        for folder in folders:
            began = time.perf_counter()
            (await client.put("/v1/adapters/fresh", json={"path": str(folder)})).raise_for_status()
            took.append(time.perf_counter() - began)
        running = sum(not task.done() for task in streams)
        outcomes = await asyncio.gather(*streams, return_exceptions=True)
    failed = [o for o in outcomes if isinstance(o, BaseException)]
    for failure in failed:
        print(f"failed: {failure!r}", file=sys.stderr)
    gaps = sorted(b - a for o in outcomes if not isinstance(o, BaseException) for a, b in pairwise(o))
    return {
        "failed": len(failed),
        "longest_pause_ms": round(1e3 * gaps[-1], 1),
        "median_pause_ms": round(1e3 * statistics.median(gaps), 1),
        "registration_s": round(statistics.median(took), 2) if took else 0.0,
        "running_after_registrations": running,
    }


def main() -> None:
    """A quiet run, a busy run; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--registrations", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        loras = make_loras(folder, args.registrations)
        environ = {**os.environ, "RAGTUNE_HOME": str(folder / "home"), "RAGTUNE_ADAPTER_ROOTS": str(folder)}
        with Commands(environ).serve(folder / "log") as url:
            runs = {
                what: asyncio.run(run(url, args, some))
                for what, some in (("warm-up", []), ("quiet", []), ("registering", loras))
            }
    quiet, busy = runs["quiet"], runs["registering"]
    assert busy["running_after_registrations"] == args.streams, (
        "the streams ended before the registrations: more --tokens"
    )
    figures = {
        f"{what}_{key}": value
        for what, of_run in (("quiet", quiet), ("registering", busy))
        for key, value in of_run.items()
    }
    print(json.dumps({"failed_streams": quiet["failed"] + busy["failed"], "streams": args.streams, **figures}))


if __name__ == "__main__":
    main()
