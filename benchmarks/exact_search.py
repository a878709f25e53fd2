"""What a search adds to a request at 100,000 passages: all of `Retriever.search` but embedding the query.

Random vectors of length 1 and passages of random words; half of them belong to a tenant. Each search has a new query.
The last line is JSON, in milliseconds: p50 and p99 for each method alone and beside seven others, and for opening; and
of one bare product of the matrix and a vector in NumPy, which tells how busy the machine is.

    python benchmarks/exact_search.py [--passages 100000] [--dimension 384] [--searches 200]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexer.contents import write
from indexer.embedding import Vectors
from indexer.record import IndexedDocument, Record
from indexer.retriever import Retriever
from indexer.search import Search
from indexer.store import IndexManifest
from ragtune.versions import Version

SEED, WORDS, PER_DOCUMENT = 7, 30_000, 10


@dataclass
class RandomEmbedder:
    """A vector of length 1 for each text, drawn in no time to speak of."""

    dimension: int
    id: str = "random"
    fingerprint: str = "random"
    window: int = 256
    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    def count(self, text: str) -> int:
        """Words."""
        return len(text.split())

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        """(len(texts), dimension)."""
        vectors = self.chance.standard_normal((len(texts), self.dimension), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(folder: Path, embedder: RandomEmbedder, passages: int) -> Version[IndexManifest]:
    """An index of random passages, their words as unevenly spread as those of a language."""
    tenants = ("", "ada")
    documents = [IndexedDocument(id=str(i), tenant=tenants[i % 2]) for i in range(-(-passages // PER_DOCUMENT))]
    texts = sentences(passages, 80)
    owners = [documents[i // PER_DOCUMENT] for i in range(passages)]
    records = [
        Record(id=str(i), document=owner.id, tenant=owner.tenant, text=text, start=0, end=len(text))
        for i, (text, owner) in enumerate(zip(texts, owners, strict=True))
    ]
    write(folder, records, documents, embedder.encode(texts))
    manifest = IndexManifest.model_construct(embedding_fingerprint=embedder.fingerprint)
    return Version("index", "random", 1, folder, manifest, "", True)


def sentences(count: int, words: int) -> list[str]:
    """Texts of random words, word n drawn in proportion to 1 / n."""
    shares = 1 / np.arange(1, WORDS + 1)
    drawn = np.random.default_rng(SEED + words).choice(WORDS, size=(count, words), p=shares / shares.sum())
    return [" ".join(f"w{word}" for word in row) for row in drawn]


def timed(search: Callable[[Search], object], asked: list[Search], threads: int) -> tuple[float, float]:
    """p50 and p99 of one search, in milliseconds."""

    def once(search_: Search) -> float:
        started = time.perf_counter()
        search(search_)
        return 1e3 * (time.perf_counter() - started)

    with ThreadPoolExecutor(threads) as pool:
        took = list(pool.map(once, asked))
    return round(float(np.percentile(took, 50)), 2), round(float(np.percentile(took, 99)), 2)


def bare(matrix: Vectors, times: int) -> tuple[float, float]:
    """p50 and p99 of the least there is to do."""
    return timed(lambda _: matrix @ matrix[0], [Search(query="")] * times, 1)


def main() -> None:
    """Build, open, search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--searches", type=int, default=200)
    args = parser.parse_args()
    embedder = RandomEmbedder(args.dimension)
    figures: dict[str, float] = {"passages": args.passages}
    figures["bare_product_p50_ms"], _ = bare(embedder.encode([""] * args.passages), args.searches)
    with tempfile.TemporaryDirectory() as folder:
        version = made(Path(folder), embedder, args.passages)
        retriever = Retriever(embedder)
        queries = sentences(args.searches, 10)
        figures["opening_ms"], _ = timed(lambda search: retriever.search(version, search), [Search(query="w1")], 1)
        for name, asked in {
            "dense": {"method": "dense"},
            "dense_tenant": {"method": "dense", "tenant": "ada"},
            "lexical": {"method": "lexical"},
            "hybrid": {"method": "hybrid"},
            "hybrid_tenant": {"method": "hybrid", "tenant": "ada"},
        }.items():
            searches = [Search.model_validate({"query": query, "top_k": 10} | asked) for query in queries]
            timed(lambda search: retriever.search(version, search), searches, 1)  # warms up, and embeds the queries
            for threads in (1, 8):
                p50, p99 = timed(lambda search: retriever.search(version, search), searches, threads)
                print(f"{name:14} {threads} threads: p50 {p50} ms, p99 {p99} ms")
                figures |= {f"{name}_{threads}_threads_p50_ms": p50, f"{name}_{threads}_threads_p99_ms": p99}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
