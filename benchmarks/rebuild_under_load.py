"""What three rebuilds and a rollback of an index do to eight clients that query it all the while.

Four clients search, four ask for 16 tokens with passages, each one request after the other with a pause between them,
every question new: first in a quiet phase, then while the index is rebuilt three times over HTTP, a tenth of its
documents changed each time, and rolled back. A document's text names the build that changed it last, so that passages
tell which versions they can be from: those of one answer must have one in common, and where the answer names its
version it must be that one.

    python benchmarks/rebuild_under_load.py [--documents 300] [--seconds 60] [--pause 1]
"""

import argparse
import asyncio
import json
import math
import os
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ragtune.commands import Commands

INDEX, REBUILDS, CHANGED, TOP_K = "handbook", 3, 10, 8
WORDS = ("valve", "filter", "harbour", "ledger", "copper", "winter", "signal", "orchard", "engine", "garden", "ticket")
BUILDS = f"/v1/indexes/{INDEX}/builds?wait=true"


@dataclass
class Corpus:
    """Documents of one passage each; `versions[v][d]` is the build that had changed document d last, in version v."""

    folder: Path
    versions: dict[int, list[int]] = field(default_factory=dict)

    def change(self, version: int, documents: list[int], chance: random.Random) -> None:
        """Write these anew, for the build that makes `version`."""
        self.versions[version] = list(self.versions.get(version - 1, [0] * len(documents)))
        for number in documents:
            self.versions[version][number] = version
            text = " ".join(chance.choices(WORDS, k=60))
            (self.folder / f"{number}.md").write_text(f"# Record {number}\n\nWritten for build {version}. {text}.\n")

    def possible(self, passages: list[dict[str, str]]) -> set[int]:
        """The versions that all these passages can be from."""
        found = set(self.versions)
        for passage in passages:
            document, builds = int(passage["document"].removesuffix(".md")), re.findall(r"build (\d+)", passage["text"])
            found &= {version for version, last in self.versions.items() if {str(last[document])} == set(builds)}
        return found


@dataclass
class Told:
    """The answers of one phase: seconds each took, and what was wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"search": [], "generation": []})
    mixed: int = 0
    errors: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)


async def client(
    http: httpx.AsyncClient, what: str, seed: int, corpus: Corpus, told: Told, end: asyncio.Event, pause: float
) -> None:
    """One request after the other until the phase ends, `pause` seconds between two on average."""
    chance = random.Random(f"{what} {seed}")
    while not end.is_set():
        await asyncio.sleep(chance.uniform(0, 2 * pause))
        query = f"Which record tells of {' and '.join(chance.sample(WORDS, 3))}, number {chance.randrange(10**6)}?"
        began = time.perf_counter()
        try:
            if what == "search":
                answer = await http.post(f"/v1/indexes/{INDEX}/search", json={"query": query, "top_k": TOP_K})
            else:
                body = {"query": query, "mode": f"rag:{INDEX}", "max_tokens": 16}
                answer = await http.post("/v1/query", json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            told.errors.append(repr(error))
            continue
        told.seconds[what].append(time.perf_counter() - began)
        said = answer.json()
        version = said["version"] if what == "search" else said["versions"]["index"]
        told.versions.add(version)
        told.mixed += int(version.partition("@")[2]) not in corpus.possible(said["passages"]) or not said["passages"]


async def rebuild(http: httpx.AsyncClient, corpus: Corpus, pause: float) -> None:
    """Three rebuilds and a rollback."""
    chance = random.Random(1)
    for version in range(2, REBUILDS + 2):
        count = len(corpus.versions[1])
        await asyncio.to_thread(corpus.change, version, chance.sample(range(count), count // CHANGED), chance)
        began = time.perf_counter()
        answer = (await http.post(BUILDS, json={"path": str(corpus.folder)}, timeout=None)).raise_for_status().json()
        assert answer["result"]["version"] == f"{INDEX}@{version}", answer
        print(f"{INDEX}@{version} after {time.perf_counter() - began:.1f} s", file=sys.stderr)
        await asyncio.sleep(pause)
    (await http.post(f"/v1/indexes/{INDEX}/rollback", json={})).raise_for_status()
    await asyncio.sleep(pause)


async def phase(url: str, corpus: Corpus, seed: int, seconds: float, pause: float, *, busy: bool) -> Told:
    """All clients, for so long or until the rebuilds are done."""
    told, end = Told(), asyncio.Event()
    async with httpx.AsyncClient(base_url=url, timeout=300) as http:
        kinds = ("search", "generation") * 4
        clients = [
            asyncio.create_task(client(http, what, seed + i, corpus, told, end, pause)) for i, what in enumerate(kinds)
        ]
        await (rebuild(http, corpus, seconds / 20) if busy else asyncio.sleep(seconds))
        end.set()
        await asyncio.gather(*clients)
    return told


def p95(seconds: list[float]) -> float:
    """In milliseconds: the smallest value that 95 % do not exceed."""
    return 1e3 * sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def main() -> None:
    """A warm-up, a quiet phase, a busy one; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=1, help="seconds between a client's requests, on average")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        corpus = Corpus(folder / "docs")
        corpus.folder.mkdir()
        corpus.change(1, list(range(args.documents)), random.Random(0))
        environ = {**os.environ, "RAGTUNE_HOME": str(folder / "home"), "RAGTUNE_DOCUMENT_ROOTS": str(corpus.folder)}
        with Commands(environ).serve(folder / "log") as url:
            httpx.post(f"{url}{BUILDS}", json={"path": str(corpus.folder)}, timeout=None).raise_for_status()
            asyncio.run(phase(url, corpus, 100, args.seconds / 6, args.pause, busy=False))
            quiet = asyncio.run(phase(url, corpus, 200, args.seconds, args.pause, busy=False))
            busy = asyncio.run(phase(url, corpus, 300, args.seconds, args.pause, busy=True))
    print("\n".join([*quiet.errors, *busy.errors]), file=sys.stderr)
    times = {
        (what, when): told.seconds[what] for when, told in (("quiet", quiet), ("busy", busy)) for what in told.seconds
    }
    figures: dict[str, object] = {
        "errors": len(quiet.errors) + len(busy.errors),
        "answers_with_two_versions": quiet.mixed + busy.mixed,
        **{f"{w}_p95_ratio": round(p95(times[w, "busy"]) / p95(times[w, "quiet"]), 3) for w in quiet.seconds},
        **{f"{what}_p95_{when}_ms": round(p95(seconds), 1) for (what, when), seconds in times.items()},
        **{f"{what}_answers_{when}": len(seconds) for (what, when), seconds in times.items()},
        "versions": sorted(quiet.versions | busy.versions),
        "documents": args.documents,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
