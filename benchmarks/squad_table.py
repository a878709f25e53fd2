"""Real questions on real prose: SQuAD, trained on some articles, asked of others, all of them in the index.

24 articles train, the other 8 are asked about: a LoRA that read retrieved passages, one that learned the same questions
closed-book, few-shot prompting, and the base model. Besides: how much is retrieved (`top_k` 1 to 8), and controls of
context. The split, the questions and the order are drawn by a fixed seed.

    python benchmarks/squad_table.py [FOLDER] [--squad ../shared/data/squad/dev-v1.1.32-articles.json]
"""

import argparse
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from ragtune import demo
from ragtune.commands import Commands
from ragtune.examples import Example
from ragtune.terminal import say

SEED, TRAIN_ARTICLES, TRAIN, TEST, FEWER = 7, 24, 160, 60, 30
SET = {"RAGTUNE_PASSAGE_TOKENS": "1200", "RAGTUNE_TOP_K": "2"}
TEMPLATE = "knowledge-few-shot"
RECIPE = 'name = "{name}"\nmethod = "lora"\ntrain = "train.jsonl"\nlearning_rate = 1e-3\nbatch_size = 4\n'
RECIPE += "validation_share = 0\nforgetting = false\nmax_tokens = 2048\n{more}\n[lora]\nrank = 16\nalpha = 32\n"
RECIPES = {"reader": 'index = "squad"', "closed-book": ""}
ARMS: tuple[dict[str, Any], ...] = (
    *({"mode": mode} for mode in ("base", "rag", f"prompt:{TEMPLATE}+rag")),
    *({"mode": mode} for mode in ("closed-book", "closed-book+rag", "reader", "reader+rag")),
    *({"mode": m, "label": f"{m}, k = {k}", "top_k": k} for m in ("rag", "reader+rag") for k in (1, 4, 8)),
    *(
        {"mode": mode, "label": f"{mode}, {what}", "context": what}
        for mode in ("rag", "reader+rag")
        for what in ("none", "gold", "wrong")
    ),
)
COMPARISONS = (
    ("containment", "rag", "base", 0),
    ("token_f1", "reader+rag", "rag", 20),
    ("token_f1", "reader+rag", f"prompt:{TEMPLATE}+rag", 0),
    ("token_f1", "reader+rag", "closed-book+rag", 0),
    ("token_f1", "closed-book+rag", "rag", 0),
    ("token_f1", "rag, k = 8", "rag", 0),
    ("token_f1", "reader+rag, k = 8", "reader+rag", 0),
    ("token_f1", "rag, wrong", "rag, none", 0),
    ("token_f1", "reader+rag, wrong", "reader+rag, none", 0),
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
    for name, more in RECIPES.items():
        (folder / f"{name}.toml").write_text(RECIPE.format(name=name, more=more))
    (folder / "suite.toml").write_text(suite())


def suite() -> str:
    """Every arm on the questions; the controls and other depths of retrieval on half of them."""
    text = 'name = "SQuAD, unseen articles"\nconcurrency = 48\nalone = 4\ntimeout = 900\n[[tasks]]\nname = "squad"\n'
    text += 'examples = "heldout.jsonl"\nmetrics = ["token_f1", "exact_match", "containment"]\nmax_tokens = 32\n'
    for arm in ARMS:
        text += "[[arms]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in arm.items())
        text += f"limits = {{ squad = {FEWER} }}\n" if "label" in arm else ""
    for metric, one, over, margin in COMPARISONS:
        text += f'[[comparisons]]\ntask = "squad"\nmetric = "{metric}"\narm = "{one}"\nover = "{over}"\n'
        text += f"margin = {margin}\n"
    return text


def main() -> None:
    """All of it; the last line is the JSON of scores, differences and verdicts."""
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
    commands = Commands({**os.environ, **SET, "RAGTUNE_HOME": str(folder / "home")}, results_to_stderr=True)
    commands.run("template", "add", TEMPLATE, str(Path(demo.__file__).parent / "templates" / f"{TEMPLATE}.toml"))
    commands.run("index", "build", str(folder / "docs"), "--name", "squad")
    for name in RECIPES:
        say(f"training {name}")
        commands.run("train", str(folder / f"{name}.toml"))
    with commands.serve(folder / "server.log"):
        commands.run("eval", "run", str(folder / "suite.toml"), "--out", str(folder / "run"), "--wide")
    commands.run("eval", "report", str(folder / "run"), "--json", results=folder / "report.json")
    report = json.loads((folder / "report.json").read_text())["report"]
    scores = {arm["name"]: {task: found["scores"] for task, found in arm["tasks"].items()} for arm in report["arms"]}
    print(json.dumps({name: report[name] for name in ("differences", "ladders", "verdicts")} | {"scores": scores}))


if __name__ == "__main__":
    main()
