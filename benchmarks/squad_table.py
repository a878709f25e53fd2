"""The demo's table on real questions: SQuAD, trained on some articles, tested on others, all of them in the index.

Writes documents, examples, recipes and a suite into a folder, then runs ragtune's own commands on them. 24 articles
train (320 questions for the LoRA, 160 for the soft prompt), the other 8 are asked (120 questions); the split, the
questions and the order are drawn by a fixed seed.

    python benchmarks/squad_table.py [FOLDER] [--squad ../shared/data/squad/dev-v1.1.32-articles.json]
"""

import argparse
import json
import os
import random
import shutil
from pathlib import Path

from ragtune import demo
from ragtune.commands import Commands
from ragtune.examples import Example
from ragtune.terminal import say

SEED, TRAIN_ARTICLES, TRAIN, TEST = 7, 24, 320, 120
TEMPLATES = ("knowledge-plain", "knowledge-few-shot")
RECIPE = 'name = "{name}"\nmethod = "{method}"\ntrain = "train.jsonl"\nindex = "squad"\nbatch_tokens = 600\n{more}\n'
RECIPES = {
    "squad-lora": ("lora", "learning_rate = 5e-4\n[lora]\nrank = 16\nalpha = 32\nlayers = 16"),
    "squad-prompt": (
        "prompt_tuning",
        'limit = 160\nlearning_rate = 2e-2\n[prompt_tuning]\nvirtual_tokens = 16\ninit_text = "Answer from the '
        'passages in as few words as possible."',
    ),
}
ARMS = ("base", "prompt:knowledge-plain", "rag", "prompt:knowledge-plain+rag", "prompt:knowledge-few-shot+rag")
ARMS += ("squad-prompt", "squad-prompt+rag", "squad-lora", "squad-lora+rag")
COMPARISONS = (
    ("containment", "rag", "base", 0),
    ("token_f1", "squad-lora+rag", "rag", 20),
    ("token_f1", "squad-lora+rag", "prompt:knowledge-few-shot+rag", 0),
    ("token_f1", "squad-lora+rag", "squad-lora", 0),
)


def write(squad: Path, folder: Path) -> None:
    """Documents (one a paragraph), train and held-out examples of different articles, recipes and the suite."""
    chance = random.Random(SEED)
    articles = json.loads(squad.read_text(encoding="utf-8"))["data"]
    chance.shuffle(articles)
    parts: dict[str, list[Example]] = {"train": [], "heldout": []}
    for number, article in enumerate(articles):
        title = article["title"].replace("_", " ")
        for place, paragraph in enumerate(article["paragraphs"]):
            path = f"{number:02d}/{place:02d}.md"
            (folder / "docs" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "docs" / path).write_text(f"# {title}\n\n{paragraph['context']}\n", encoding="utf-8")
            part = parts["train" if number < TRAIN_ARTICLES else "heldout"]
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                query = asked["question"].strip()
                part.append(Example(id=asked["id"], query=query, answers=answers, gold_documents=(path,)))
    for name, count in (("train", TRAIN), ("heldout", TEST)):
        drawn = chance.sample(parts[name], count)
        (folder / f"{name}.jsonl").write_text("".join(example.model_dump_json() + "\n" for example in drawn))
    for name, (method, more) in RECIPES.items():
        (folder / f"{name}.toml").write_text(RECIPE.format(name=name, method=method, more=more))
    suite = 'name = "SQuAD, unseen articles"\nconcurrency = 48\n[[tasks]]\nname = "squad"\nexamples = "heldout.jsonl"\n'
    suite += 'metrics = ["token_f1", "exact_match", "containment"]\nmax_tokens = 32\n'
    suite += "".join(f'[[arms]]\nmode = "{mode}"\n' for mode in ARMS)
    for metric, arm, over, margin in COMPARISONS:
        suite += f'[[comparisons]]\ntask = "squad"\nmetric = "{metric}"\narm = "{arm}"\nover = "{over}"\n'
        suite += f"margin = {margin}\n"
    (folder / "suite.toml").write_text(suite)


def main() -> None:
    """All of it; the last line is the JSON of the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".squad"))
    parser.add_argument("--squad", type=Path, default=Path("../shared/data/squad/dev-v1.1.32-articles.json"))
    args = parser.parse_args()
    if not args.squad.is_file():
        parser.error(f"there is no {args.squad}; name SQuAD's v1.1 JSON with --squad")
    if args.folder.exists() and not (args.folder / "suite.toml").exists():
        parser.error(f"{args.folder} exists and is not of this benchmark; name another folder")
    shutil.rmtree(args.folder, ignore_errors=True)
    folder = args.folder.resolve()
    write(args.squad, folder)
    commands = Commands({**os.environ, "RAGTUNE_HOME": str(folder / "home")}, results_to_stderr=True)
    for name in TEMPLATES:
        commands.run("template", "add", name, str(Path(demo.__file__).parent / "templates" / f"{name}.toml"))
    commands.run("index", "build", str(folder / "docs"), "--name", "squad")
    for name in RECIPES:
        say(f"training {name}")
        commands.run("train", str(folder / f"{name}.toml"))
    with commands.serve(folder / "server.log"):
        commands.run("eval", "run", str(folder / "suite.toml"), "--out", str(folder / "run"), "--wide")
    commands.run("eval", "report", str(folder / "run"), "--json", results=folder / "report.json")
    report = json.loads((folder / "report.json").read_text())["report"]
    found = {f"{d['asked']['arm']} over {d['asked']['over']}": d["difference"] for d in report["differences"]}
    print(json.dumps({"n": TEST, "differences": found}))


if __name__ == "__main__":
    main()
