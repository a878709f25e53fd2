"""Reading: a LoRA trained on 480 SQuAD questions of 24 articles with their passage, asked questions of the other 8.

The passage stands in the prompt before its question, so that nothing depends on retrieval. The split, the questions
and the order are drawn by a fixed seed.

    python benchmarks/squad_gold.py [FOLDER] [--squad ../shared/data/squad/dev-v1.1.32-articles.json]
"""

import argparse
import json
import os
import random
from pathlib import Path

from ragtune.commands import Commands
from ragtune.examples import Example

SEED, TRAIN_ARTICLES, TRAIN, ASKED = 7, 24, 480, 500
QUERY = "Passage:\n\n{context}\n\nQuestion: {question} Answer in the words of the passage."
RECIPE = f"""
name = "reader"
method = "lora"
train = "train.jsonl"
validation_share = 0  # all 480
epochs = 2
batch_size = 4
batch_tokens = 1200
learning_rate = 1e-3
forgetting = false
seed = {SEED}

[lora]
rank = 16
alpha = 32
"""
SUITE = """
name = "SQuAD, gold passages, unseen articles"
concurrency = 48
alone = 0
timeout = 600

[[tasks]]
name = "squad"
examples = "heldout.jsonl"
metrics = ["exact_match", "token_f1", "containment"]
max_tokens = 32

[[arms]]
mode = "base"
limits = { squad = 60 }

[[arms]]
mode = "reader"
"""


def write(squad: Path, folder: Path) -> None:
    """Examples of different articles."""
    chance = random.Random(SEED)
    articles = json.loads(squad.read_text(encoding="utf-8"))["data"]
    chance.shuffle(articles)
    for name, part, count in (
        ("train", articles[:TRAIN_ARTICLES], TRAIN),
        ("heldout", articles[TRAIN_ARTICLES:], ASKED),
    ):
        asked = [(paragraph["context"], qa) for a in part for paragraph in a["paragraphs"] for qa in paragraph["qas"]]
        examples = [
            Example(
                id=qa["id"],
                query=QUERY.format(context=context, question=qa["question"].strip()),
                answers=tuple(dict.fromkeys(answer["text"] for answer in qa["answers"])),
            )
            for context, qa in chance.sample(asked, count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(example.model_dump_json() + "\n" for example in examples))


def main() -> None:
    """All of it; the last line is the JSON of exact match with its interval, and the bill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".squad-gold"))
    parser.add_argument("--squad", type=Path, default=Path("../shared/data/squad/dev-v1.1.32-articles.json"))
    args = parser.parse_args()
    if not args.squad.is_file():
        parser.error(f"there is no {args.squad}; name SQuAD's v1.1 JSON with --squad")
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write(args.squad, folder)
    (folder / "reader.toml").write_text(RECIPE)
    (folder / "suite.toml").write_text(SUITE)
    commands = Commands({**os.environ, "RAGTUNE_HOME": str(folder / "home")}, results_to_stderr=True)
    commands.run("train", str(folder / "reader.toml"), "--json", results=folder / "trained.json")
    with commands.serve(folder / "server.log"):
        commands.run("eval", "run", str(folder / "suite.toml"), "--out", str(folder / "run"), "--wide")
    commands.run("eval", "report", str(folder / "run"), "--json", results=folder / "report.json")
    arms = {
        arm["name"]: arm["tasks"]["squad"]["scores"]
        for arm in json.loads((folder / "report.json").read_text())["report"]["arms"]
    }
    bill = json.loads((folder / "trained.json").read_text())["manifest"]["training"]["bill"]
    found = {"exact_match": arms["reader"]["exact_match"], "token_f1": arms["reader"]["token_f1"], "base": arms["base"]}
    print(json.dumps({**found, "seconds": bill["wall_seconds"], "peak_memory": bill["peak_memory"]}))


if __name__ == "__main__":
    main()
