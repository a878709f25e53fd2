"""Our metrics beside what they claim to be: the largest difference from each reference.

    squad_em_error, squad_f1_error   points, from what the official v1.1 script prints for two published systems
    trec_error                       from what NIST's trec_eval prints for its own sample, 4 decimals
    rouge_error                      ROUGE-L F of the package rouge-score, on those answers and on whole paragraphs
    macro_f1_error                   scikit-learn's f1_score(average="macro"), on labels drawn by a fixed seed

    pip install -e '.[bench]'
    python benchmarks/metric_parity.py [--shared ../shared]

A figure whose reference is not here is null, and said to be. The last line is JSON.
"""

import argparse
import importlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from sklearn.metrics import f1_score

from eval.metrics.labels import macro_f1_of
from eval.metrics.rouge import rouge_l
from eval.metrics.words import exact_match, token_f1
from eval.ranking import in_order, ndcg, recall, reciprocal_rank
from ragtune.terminal import say

SEED, DRAWS, LONG = 20261126, 200, 150
SYSTEMS = ("logistic-regression", "bert-ensemble")
CUTS = (5, 10, 100, 1000)


def squad(shared: Path) -> dict[str, float]:
    """The largest difference in points over the systems; a question without a prediction is wrong, as there."""
    expected = json.loads((shared / "reference/squad/expected.json").read_text())
    errors: dict[str, list[float]] = {"squad_em_error": [], "squad_f1_error": []}
    for system in SYSTEMS:
        said = predictions(shared, system)
        for figure, name, metric in (
            ("squad_em_error", "exact_match", exact_match),
            ("squad_f1_error", "f1", token_f1),
        ):
            found = [metric(said[id_], answers) if id_ in said else 0.0 for id_, answers in questions(shared)]
            errors[figure].append(abs(100 * mean(found) - expected[system][name]))
    return {figure: max(found) for figure, found in errors.items()}


def trec(shared: Path) -> float:
    """The largest difference over nDCG and recall at CUTS and the reciprocal rank, each a mean over queries."""
    gains: dict[str, dict[str, int]] = defaultdict(dict)
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for query, _, document, gain in fields(shared, "qrels.txt"):
        gains[query][document] = int(gain)
    for query, _, document, _, score, _ in fields(shared, "run.txt"):
        scores[query][document] = float(score)
    expected = {name: value for name, _, value in fields(shared, "expected-all.txt")}
    ranked = {query: in_order(found) for query, found in scores.items()}
    ours = {f"ndcg_cut_{cut}": mean(ndcg(ranked[q], gains[q], cut) for q in ranked) for cut in CUTS}
    ours |= {f"recall_{cut}": mean(recall(ranked[q], gains[q], cut) for q in ranked) for cut in CUTS}
    ours["recip_rank"] = mean(reciprocal_rank(ranked[q], gains[q], len(ranked[q])) for q in ranked)
    return max(abs(value - float(expected[name])) for name, value in ours.items())


def rouge(shared: Path) -> float | None:
    """The largest difference over answers, and over paragraphs beside the next one; None without the package."""
    try:
        scorer: Any = importlib.import_module("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    except ImportError:
        say("rouge_error: the package rouge-score is not installed; pip install -e '.[bench]'")
        return None
    paragraphs = [p["context"] for a in articles(shared) for p in a["paragraphs"]][:LONG]
    pairs = [(said, [wanted]) for said, wanted in pairwise(paragraphs)]
    for system in SYSTEMS:
        said = predictions(shared, system)
        pairs += [(said[id_], answers) for id_, answers in questions(shared) if id_ in said]
    return max(
        abs(rouge_l(text, answers) - max(scorer.score(answer, text)["rougeL"].fmeasure for answer in answers))
        for text, answers in pairs
    )


def macro_f1() -> float:
    """The largest difference over DRAWS sets of labels, rare and frequent ones."""
    chance, errors = random.Random(SEED), []
    for _ in range(DRAWS):
        labels = [f"label {n}" for n in range(chance.randint(2, 77))]
        wanted = chance.choices(labels, weights=[1 / (1 + n) for n in range(len(labels))], k=chance.randint(1, 300))
        predicted = [one if chance.random() < 0.7 else chance.choice(labels) for one in wanted]
        ours = macro_f1_of(predicted, wanted)
        errors.append(abs((ours or 0.0) - f1_score(wanted, predicted, average="macro", zero_division=0)))
    return max(errors)


def articles(shared: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        (shared / "data/squad/dev-v1.1.32-articles.json").read_text(encoding="utf-8")
    )["data"]
    return found


def questions(shared: Path) -> Iterator[tuple[str, list[str]]]:
    """Id and accepted answers of each question."""
    for article in articles(shared):
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield asked["id"], [answer["text"] for answer in asked["answers"]]


def predictions(shared: Path, system: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(
        (shared / f"reference/squad/{system}.predictions.json").read_text(encoding="utf-8")
    )
    return found


def fields(shared: Path, name: str) -> list[list[str]]:
    return [line.split() for line in (shared / "reference/trec_eval" / name).read_text().splitlines()]


def main() -> None:
    """All of it; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="the folder with data/ and reference/")
    shared = parser.parse_args().shared
    if not (shared / "reference").is_dir():
        parser.error(f"there is no {shared / 'reference'}; name the folder that holds it with --shared")
    found = {**squad(shared), "trec_error": trec(shared), "rouge_error": rouge(shared), "macro_f1_error": macro_f1()}
    for name, error in found.items():
        say(f"{name:16} {'-' if error is None else f'{error:.2e}'}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
