"""What a training does to four clients that query the service all the while.

Two clients ask the base model and two a LoRA, each for 16 tokens, one request after the other with a pause between
them, every question new. Phases alternate, one without and one with a training at work (a LoRA on all linear layers,
started over HTTP, so niced and on half the processors); a phase with one begins when its first steps are done. The
figure is the 95th percentile of all answers beside a training over that of all answers without.

    python benchmarks/training_load.py [--rounds 3] [--seconds 60] [--pause 0.5]
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
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from ragtune.commands import Commands

MODES = ("base", "asked-lora") * 2
WORDS = ("valve", "filter", "harbour", "ledger", "copper", "winter", "signal", "orchard", "engine", "garden", "ticket")
JSON = {"content-type": "application/json"}
Seconds = dict[str, list[float]]


def question(chance: random.Random) -> str:
    """One that nobody has asked before, so that no KV is there."""
    return f"Which record tells of {' and '.join(chance.sample(WORDS, 3))}, number {chance.randrange(10**6)}?"


def training(name: str, **limits: int) -> dict[str, Any]:
    """What is asked of POST /v1/training: some fifty tokens an example."""
    chance = random.Random(0)
    examples = [{"id": str(n), "query": question(chance), "answers": [chance.choice(WORDS)]} for n in range(512)]
    return {"recipe": {"name": name, "method": "lora", **limits}, "examples": examples, "fresh": True}


async def client(http: httpx.AsyncClient, mode: str, seed: int, pause: float, end: asyncio.Event) -> list[float]:
    """One request after the other until the phase ends; the seconds each took."""
    chance, seconds = random.Random(seed), list[float]()
    while not end.is_set():
        await asyncio.sleep(chance.uniform(0, 2 * pause))
        began = time.perf_counter()
        body = {"query": question(chance), "mode": mode, "max_tokens": 16}
        (await http.post("/v1/query", json=body)).raise_for_status()
        seconds.append(time.perf_counter() - began)
    return seconds


async def phase(http: httpx.AsyncClient, seed: int, seconds: float, pause: float) -> Seconds:
    """All clients, for so long; what each mode's answers took."""
    end = asyncio.Event()
    clients = [asyncio.create_task(client(http, mode, seed + at, pause, end)) for at, mode in enumerate(MODES)]
    await asyncio.sleep(seconds)
    end.set()
    taken: Seconds = {mode: [] for mode in MODES}
    for mode, answers in zip(MODES, await asyncio.gather(*clients), strict=True):
        taken[mode] += answers
    return taken


async def beside(http: httpx.AsyncClient, seed: int, seconds: float, pause: float, tokens: list[float]) -> Seconds:
    """A phase with a training at work; how fast that goes is added to `tokens`."""
    began = (await http.post("/v1/training", json=training("made-lora", epochs=1000))).raise_for_status().json()
    job = f"/v1/jobs/{began['id']}"
    while ((now := (await http.get(job)).json())["progress"] or {}).get("done", 0) < 2:
        assert now["state"] in ("queued", "running"), now
        await asyncio.sleep(0.5)
    taken = await phase(http, seed, seconds, pause)
    now = (await http.get(job)).json()
    assert now["state"] == "running", now
    tokens.append(now["progress"]["figures"]["tokens_per_second"])
    (await http.post(f"{job}/cancel", headers=JSON)).raise_for_status()
    while (await http.get(job)).json()["state"] == "running":
        await asyncio.sleep(0.1)
    return taken


async def measure(url: str, rounds: int, seconds: float, pause: float) -> dict[str, float]:
    """All phases, and their figures."""
    quiet: Seconds = {mode: [] for mode in MODES}
    busy: Seconds = {mode: [] for mode in MODES}
    tokens: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=600) as http:
        first = training("asked-lora", max_steps=2)
        (await http.post("/v1/training", params={"wait": True}, json=first)).raise_for_status()
        await phase(http, -100, seconds / 4, pause)  # warms up
        for number in range(rounds):
            calm = await phase(http, 200 * number, seconds, pause)
            both = calm, await beside(http, 200 * number + 100, seconds, pause, tokens)
            for told, taken in zip((quiet, busy), both, strict=True):
                for mode, answers in taken.items():
                    told[mode] += answers
            print([{mode: round(p95(taken[mode])) for mode in taken} for taken in both], file=sys.stderr)
    everything = {"quiet": [*chain(*quiet.values())], "training": [*chain(*busy.values())]}
    return {
        "p95_ratio": round(p95(everything["training"]) / p95(everything["quiet"]), 3),
        **{f"{mode}_p95_ratio": round(p95(busy[mode]) / p95(quiet[mode]), 3) for mode in quiet},
        **{f"p95_{when}_ms": round(p95(answers), 1) for when, answers in everything.items()},
        **{f"answers_{when}": len(answers) for when, answers in everything.items()},
        "training_tokens_per_second": round(sum(tokens) / len(tokens), 1),
    }


def p95(seconds: list[float]) -> float:
    """In milliseconds: the smallest value that 95 % do not exceed."""
    return 1e3 * sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def main() -> None:
    """A service of its own on the configured base model; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="of a phase")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between a client's requests, on average")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        environ = {**os.environ, "RAGTUNE_HOME": str(folder / "home")}
        with Commands(environ).serve(folder / "log") as url:
            figures = asyncio.run(measure(url, args.rounds, args.seconds, args.pause))
    print(json.dumps({**figures, "processors": os.cpu_count(), "pause": args.pause}))


if __name__ == "__main__":
    main()
