"""What a build costs: embedding against bare sentence-transformers, an unchanged rebuild, one changed document.

Documents are the paragraphs of SQuAD, each a file, as many as asked for. Every round embeds the same passages twice in
the same process, once by `SentenceTransformer.encode` and once by a build, first the one and then the other in turn.
The unchanged rebuild and the first build are commands of their own, from start to exit, one thread as the service
starts them. Without the data a seeded generator writes the documents.

    python benchmarks/index_build.py [--documents 1000] [--rounds 3] [--data ../shared/data]
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentence_transformers import SentenceTransformer

from indexer.building import BuildSpec, build_from
from indexer.contents import read_records
from indexer.embedding import embedded_folder, load_embedder
from indexer.model import Model
from indexer.store import Indexes
from ragtune.demo.company import write_company
from ragtune.settings import Settings
from ragtune.store import Database

_COMMAND = """
import sys
from ragtune.cli import root
try:
    root(sys.argv[1:], standalone_mode=False)
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def write_documents(folder: Path, count: int, data: Path) -> list[Path]:
    """`count` Markdown files of one paragraph each."""
    squad = data / "squad" / "dev-v1.1.32-articles.json"
    if squad.is_file():
        articles = json.loads(squad.read_text())["data"]
        texts = [f"# {a['title']}\n\n{p['context']}" for a in articles for p in a["paragraphs"]]
    else:
        print("no data: documents of the demo's generator instead", file=sys.stderr)
        texts = [path.read_text() for path in sorted(write_company(folder.parent / "company").docs.rglob("*.md"))]
    random.Random(0).shuffle(texts)
    folder.mkdir()
    files = []
    for number in range(count):
        files.append(folder / f"{number:05}.md")
        files[-1].write_text(f"{texts[number % len(texts)]}\n\nNumber {number}.\n")
    return files


class Stopwatch:
    """The seconds of each stage of a build, by the passages it tells of."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def __call__(self, stage: str, _done: int, _total: int, /) -> None:
        """Called by the build."""
        now = time.perf_counter()
        self.first.setdefault(stage, now)
        self.last[stage] = now

    def seconds(self, stage: str) -> float:
        """From the first that was told of a stage to the last."""
        return self.last[stage] - self.first[stage]


def build_once(docs: Path, home: Path, model: Model) -> tuple[list[str], float, float]:
    """What a build in a new home embeds, and its seconds: of embedding alone, and from the first file to the end."""
    indexes, watch, started = Indexes(home, Database(home / "db")), Stopwatch(), time.perf_counter()
    built = build_from(BuildSpec(index="bench", path=str(docs)), indexes, model, watch).built
    whole = time.perf_counter() - started
    return [record.searched_text for record in read_records(built.version.folder)], watch.seconds("embedding"), whole


def command(docs: Path, home: Path) -> tuple[float, bool, dict[str, object]]:
    """Seconds of a whole `ragtune index build`, whether it has imported torch, and what it published."""
    environ = {**os.environ, "RAGTUNE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, "index", "build", str(docs), "--name", "bench", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - started, done.stderr.split()[-1] == "True", json.loads(done.stdout)


def main() -> None:
    """Everything in turn; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        files = write_documents(folder / "docs", args.documents, args.data)
        embedder = load_embedder(Settings.load())
        model, bare = Model.loaded(embedder), SentenceTransformer(str(embedded_folder()))
        texts, _, _ = build_once(folder / "docs", folder / "warm-up", model)
        ratios, whole_ratios, rates = [], [], []
        for number in range(args.rounds):

            def encode() -> float:
                started = time.perf_counter()
                bare.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
                return time.perf_counter() - started

            home = folder / f"round-{number}"
            if number % 2:
                seconds = encode()
                _, embedding, whole = build_once(folder / "docs", home, model)
            else:
                _, embedding, whole = build_once(folder / "docs", home, model)
                seconds = encode()
            ratios.append(seconds / embedding)
            whole_ratios.append(seconds / whole)
            rates.append(len(texts) / embedding)
            print(f"round {number + 1}: encode {seconds:.1f} s, embedding {embedding:.1f} s, build {whole:.1f} s")
        home = folder / "commands"
        first, _, _ = command(folder / "docs", home)
        unchanged = [command(folder / "docs", home) for _ in range(3)]
        files[len(files) // 2].write_text("# Changed\n\nA text that nobody has embedded before.\n")
        changed, _, published = command(folder / "docs", home)
        again = statistics.median(seconds for seconds, _, _ in unchanged)
        manifest = published["manifest"]
        assert isinstance(manifest, dict)
    figures = {
        "build_over_encode": round(statistics.median(ratios), 3),
        "unchanged_rebuild_speedup": round(first / again, 1),
        "unchanged_rebuild_imports_torch": any(imported for _, imported, _ in unchanged),
        "one_changed_document_embeds": manifest["embedded"],
        "build_over_encode_spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "whole_build_over_encode": round(statistics.median(whole_ratios), 3),
        "passages_per_second": round(statistics.median(rates), 1),
        "passages": len(texts),
        "documents": args.documents,
        "first_build_s": round(first, 2),
        "unchanged_rebuild_s": round(again, 2),
        "one_changed_document_s": round(changed, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
