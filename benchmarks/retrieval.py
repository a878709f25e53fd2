"""Retrieval on public data: SciFact (nDCG@10, MRR@10, recall@100) and SQuAD (recall@1, 3 and 5), for each method.

    scifact         the published setting: a document is one passage, title and text, cut at the embedding's window
    scifact_split   `ragtune index build` as it comes, a document ranked by the best of its passages
    squad           a paragraph is one passage under its article's title; the one a question was asked of counts

Parameters are the libraries' and the papers' defaults. The last line is JSON.

    python benchmarks/retrieval.py [--data ../shared/data] [--part test]
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean

from eval.ranking import ndcg, recall, reciprocal_rank
from indexer.building import BuildSpec, build_from
from indexer.contents import write
from indexer.embedding import TextEmbedder, load_embedder
from indexer.model import Model
from indexer.record import IndexedDocument, Record
from indexer.retriever import Retriever
from indexer.search import Method, Search
from indexer.store import Indexes, IndexManifest
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import progress
from ragtune.versions import Version

METHODS: tuple[Method, ...] = ("dense", "lexical", "hybrid")
Texts = dict[str, tuple[str, str]]  # document to title and text
Gains = dict[str, dict[str, int]]  # query to documents that are relevant


def scifact(folder: Path, part: str) -> tuple[Texts, dict[str, str], Gains]:
    """Documents, queries and what is relevant to them."""
    corpus = {d["_id"]: (d["title"], d["text"]) for d in _lines(folder / "corpus.jsonl")}
    queries = {q["_id"]: q["text"] for q in _lines(folder / "queries.jsonl")}
    gains: Gains = {}
    with (folder / "qrels" / f"{part}.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            gains.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return corpus, {query: queries[query] for query in gains}, gains


def squad(path: Path) -> tuple[Texts, dict[str, str], Gains]:
    """Paragraphs, questions, and the paragraph each was asked of."""
    texts: Texts = {}
    queries: dict[str, str] = {}
    gains: Gains = {}
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            name = str(len(texts))
            texts[name] = (article["title"].replace("_", " "), paragraph["context"])
            queries |= {asked["id"]: asked["question"].strip() for asked in paragraph["qas"]}
            gains |= {asked["id"]: {name: 1} for asked in paragraph["qas"]}
    return texts, queries, gains


def whole(texts: Texts, folder: Path, embedder: TextEmbedder) -> Version[IndexManifest]:
    """An index with one passage for each document."""
    records = [
        Record(id=name, document=name, heading=(title,) if title else (), text=text, start=0, end=len(text))
        for name, (title, text) in texts.items()
    ]
    folder.mkdir()
    with progress(f"embedding {folder.name}", len(records)) as bar:
        vectors = embedder.encode([record.searched_text for record in records], bar.advance)
    write(folder, records, [IndexedDocument(id=name) for name in texts], vectors)
    manifest = IndexManifest.model_construct(embedding_fingerprint=embedder.fingerprint)
    return Version("index", folder.name, 1, folder, manifest, "", True)


def as_built(texts: Texts, folder: Path, embedder: TextEmbedder) -> Version[IndexManifest]:
    """The index that `ragtune index build` makes of these documents."""
    folder.mkdir()
    lines = (json.dumps({"id": name, "title": title, "text": text}) for name, (title, text) in texts.items())
    (folder / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with progress(f"embedding {folder.name}", None) as bar:
        indexes = Indexes(folder, Database(folder / "database"))
        spec = BuildSpec(index=folder.name, path=str(folder / "corpus.jsonl"))
        return build_from(spec, indexes, Model.loaded(embedder), bar.stage).built.version


def rankings(
    retriever: Retriever, version: Version[IndexManifest], queries: Mapping[str, str], method: Method
) -> Iterator[tuple[str, list[str]]]:
    """For each query the documents of the 100 best passages, by the best passage of each."""
    for name, query in queries.items():
        found = retriever.search(version, Search(query=query, method=method, top_k=100))
        yield name, list(dict.fromkeys(passage.document for passage in found))


def main() -> None:
    """Build the three indexes, search them in three ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where scifact/ and squad/ are")
    parser.add_argument("--part", choices=("train", "test"), default="test", help="SciFact's queries")
    args = parser.parse_args()
    if not (args.data / "scifact").is_dir():
        parser.error(f"there is no {args.data / 'scifact'}; name the folder of the data sets with --data")
    embedder = load_embedder(Settings.load())
    retriever = Retriever(embedder)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts, queries, gains = scifact(args.data / "scifact", args.part)
        for setting, version in (
            ("scifact", whole(texts, folder / "scifact", embedder)),
            ("scifact_split", as_built(texts, folder / "split", embedder)),
        ):
            for method in METHODS:
                found = dict(rankings(retriever, version, queries, method))
                for metric, score, cut in (("ndcg", ndcg, 10), ("mrr", reciprocal_rank, 10), ("recall", recall, 100)):
                    figures[f"{setting}_{method}_{metric}{cut}"] = mean(score(found[q], gains[q], cut) for q in queries)
        texts, queries, gains = squad(args.data / "squad" / "dev-v1.1.32-articles.json")
        version = whole(texts, folder / "squad", embedder)
        for method in METHODS:
            found = dict(rankings(retriever, version, queries, method))
            for cut in (1, 3, 5):
                figures[f"squad_{method}_recall{cut}"] = mean(recall(found[q], gains[q], cut) for q in queries)
    for figure, value in figures.items():
        print(f"{figure:34} {value:.4f}")
    print(json.dumps({figure: round(value, 4) for figure, value in figures.items()}))


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    main()
