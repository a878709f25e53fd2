"""Every technique on three tasks, at the learning rate its own search found, then served and asked.

Tasks: the demo's knowledge questions (with retrieved passages) and listings to JSON, and intents of banking77. Every
technique gets the same examples, the same steps and the same search: three rates, on the listings, a quarter of the
steps each; the rate found there serves the other tasks. Besides: a LoRA of knowledge trained without passages, prompt
tuning from a random start, and one LoRA for two tasks at once.

    python benchmarks/technique_table.py [FOLDER] [--banking FOLDER] [--methods lora ia3]

A training that is done is not done again, so the script may be started again in the same folder.
"""

import argparse
import csv
import json
import os
import random
from collections import defaultdict
from pathlib import Path

from adapters.recipe import METHODS
from ragtune.commands import Commands
from ragtune.demo.company import write_company
from ragtune.examples import Example
from ragtune.terminal import say

SEED, LIMIT, PER_LABEL, ASKED_PER_LABEL = 11, 96, 3, 1
SEARCHED_ON = "extraction"
TECHNIQUES = tuple(method for method in METHODS if method != "qlora")  # needs a GPU
TASKS = {  # the file, what the recipe says besides, and the metric
    "knowledge": ("company/knowledge", 'index = "handbook"\nbatch_tokens = 600', "token_f1", "+rag"),
    "extraction": ("company/extraction", "batch_tokens = 600\nforgetting = false", "field_f1", ""),
    "banking": ("banking", "batch_tokens = 600\nepochs = 2\nforgetting = false", "exact_match", ""),
}
INTENT = "Which intent does this message to a bank have? Answer with its label.\n\n{text}"
RECIPE = 'name = "{name}"\nmethod = "{method}"\ntrain = "{train}-train.jsonl"\nlimit = {limit}\nseed = {seed}\n{more}\n'
AS_SET = {"RAGTUNE_TOP_K": "2", "RAGTUNE_PASSAGE_ORDER": "best-last", "RAGTUNE_ADAPTER_MEMORY": str(8 << 30)}


def write_banking(source: Path, folder: Path) -> None:
    """So many of each label to train, others to ask."""
    chance = random.Random(SEED)
    for part, file, count in (("train", "train.csv", PER_LABEL), ("heldout", "test.csv", ASKED_PER_LABEL)):
        by_label: dict[str, list[str]] = defaultdict(list)
        for row in csv.DictReader((source / file).open(encoding="utf-8", newline="")):
            by_label[row["category"]].append(row["text"].strip())
        drawn = [(label, text) for label in sorted(by_label) for text in chance.sample(by_label[label], count)]
        examples = [
            Example(id=f"{part}-{n}", task="banking", query=INTENT.format(text=text), answers=(label,))
            for n, (label, text) in enumerate(drawn)
        ]
        (folder / f"banking-{part}.jsonl").write_text("".join(e.model_dump_json() + "\n" for e in examples))


def recipes(methods: tuple[str, ...]) -> dict[str, str]:
    """Name and text of every recipe."""
    made = {}
    for task, (train, more, *_) in sorted(TASKS.items(), key=lambda pair: pair[0] != SEARCHED_ON):
        for method in methods:
            name = f"{task}-{method.replace('_', '-')}"
            limit = LIMIT if task != "banking" else 77 * PER_LABEL
            made[name] = RECIPE.format(name=name, method=method, train=train, limit=limit, seed=SEED, more=more)
    closed = RECIPE.format(
        name="closed-book-lora",
        method="lora",
        train="company/knowledge",
        limit=LIMIT,
        seed=SEED,
        more="batch_tokens = 600\nforgetting = false",
    )
    scratch = made.get("extraction-prompt-tuning", "").replace("extraction-prompt-tuning", "extraction-prompt-random")
    both = 'name = "both-lora"\nmethod = "lora"\ntrain = ["company/extraction-train.jsonl", "banking-train.jsonl"]\n'
    both += f"limit = {LIMIT * 2}\nseed = {SEED}\nbatch_tokens = 600\nepochs = 2\nforgetting = false\n"
    extras = {"closed-book-lora": closed, "both-lora": both} if "lora" in methods else {}
    if scratch:
        extras["extraction-prompt-random"] = scratch + '\n[prompt_tuning]\ninit_text = ""\n'
    return made | extras


def suite(names: list[str]) -> str:
    """All adapters and the base, each on its own task; on knowledge with passages."""
    text = 'name = "techniques"\nconcurrency = 48\nalone = 0\ntimeout = 900\n'
    for task, (file, _, metric, _) in TASKS.items():
        metrics = json.dumps([metric, *({"containment"} if task == "knowledge" else ())])
        text += f'[[tasks]]\nname = "{task}"\nexamples = "{file}-heldout.jsonl"\nmetrics = {metrics}\nlimit = 80\n'
        text += f"max_tokens = {80 if task == 'extraction' else 32}\n"
    arms = [("base", ["extraction", "banking"]), ("rag", ["knowledge"])]
    for name in names:
        task = name.partition("-")[0]
        known = {"both": (["extraction", "banking"], ""), "closed": (["knowledge"], "+rag")}
        tasks, rag = known.get(task) or ([task], TASKS[task][3])
        arms.append((name + rag, tasks))
    text += "".join(f'[[arms]]\nmode = "{mode}"\ntasks = {json.dumps(tasks)}\n' for mode, tasks in arms)
    compared = [
        ("closed-book-lora+rag", "rag"),
        ("knowledge-lora+rag", "closed-book-lora+rag"),
        ("knowledge-lora+rag", "rag"),
    ]
    compared += [("knowledge-lora+rag", "knowledge-full+rag"), ("knowledge-lora+rag", "knowledge-prompt-tuning+rag")]
    modes = {mode for mode, _ in arms}
    for arm, over in compared:
        if {arm, over} <= modes:
            text += f'[[comparisons]]\ntask = "knowledge"\nmetric = "token_f1"\narm = "{arm}"\nover = "{over}"\n'
    return text


def main() -> None:
    """All of it; the last line is the JSON of what each arm reached and cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".techniques"))
    parser.add_argument("--banking", type=Path, default=Path("../shared/data/banking77"))
    parser.add_argument("--methods", nargs="+", choices=TECHNIQUES, default=TECHNIQUES)
    parser.add_argument("--train-only", action="store_true", help="leave asking to a later start with all methods")
    args = parser.parse_args()
    folder = args.folder.resolve()
    (folder / "done").mkdir(parents=True, exist_ok=True)
    write_company(folder / "company")
    write_banking(args.banking, folder)
    commands = Commands({**os.environ, **AS_SET, "RAGTUNE_HOME": str(folder / "home")}, results_to_stderr=True)
    commands.run("index", "build", str(folder / "company" / "docs"), "--name", "handbook")
    written = recipes(tuple(args.methods))
    for name, text in written.items():
        searched = name.startswith(SEARCHED_ON)
        if not (done := folder / "done" / f"{name}.json").exists():
            say(f"training {name}")
            rate = "" if searched else f"learning_rate = {_found(name, folder)}\n"
            (folder / f"{name}.toml").write_text(rate + text)
            more = ["--search"] if searched else ["--interference"] if name.startswith("both") else []
            commands.run("train", str(folder / f"{name}.toml"), "--json", *more, results=folder / f"{name}.json")
            (folder / f"{name}.json").rename(done)
    if args.train_only:
        return
    (folder / "suite.toml").write_text(suite(list(written)))
    with commands.serve(folder / "server.log"):
        commands.run("eval", "run", str(folder / "suite.toml"), "--out", str(folder / "run"), "--wide")
    commands.run("eval", "report", str(folder / "run"), "--json", results=folder / "report.json")
    bills = {
        n: json.loads((folder / "done" / f"{n}.json").read_text())["manifest"]["training"]["bill"] for n in written
    }
    report = json.loads((folder / "report.json").read_text())["report"]
    print(json.dumps({"arms": [_row(arm, bills) for arm in report["arms"]], "differences": report["differences"]}))


def _found(name: str, folder: Path) -> str:
    """The rate that was found for this technique on the task that was searched."""
    method = "lora" if name in ("closed-book-lora", "both-lora") else name.partition("-")[2]
    bill = json.loads((folder / "done" / f"{SEARCHED_ON}-{method}.json").read_text())
    return f"{bill['manifest']['training']['bill']['learning_rate']:g}"


def _row(arm: dict, bills: dict) -> dict:
    scores = {task: {"scores": r["scores"], "slices": r["slices"]} for task, r in arm["tasks"].items()}
    bill = bills.get(arm["name"].removesuffix("+rag"), {})
    return {"arm": arm["name"], **scores, "bill": {k: v for k, v in bill.items() if k != "curve"}}


if __name__ == "__main__":
    main()
