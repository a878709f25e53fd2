"""Facts that the base model cannot know, by retrieval, by heart, and by both: TOFU's invented authors.

All 200 authors are documents. Six of them are asked about, in other words than trained: a LoRA learned their questions
and answers by heart (closed-book), another learned to answer from retrieved passages, on questions about other authors.
Besides: how much is retrieved (`top_k` 1 to 8), controls of context, and, for a few questions, the right answer among
five wrong ones by log-likelihood.

    python benchmarks/tofu_table.py [FOLDER] [--tofu ../shared/data/tofu]
"""

import argparse
import json
import os
import random
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from ragtune.commands import Commands
from ragtune.examples import Example

SEED, AUTHORS, ASKED, FEWER, CHOSEN, READ = 5, 6, 60, 24, 16, 48
SET = {"RAGTUNE_PASSAGE_TOKENS": "1200", "RAGTUNE_TOP_K": "2", "RAGTUNE_ADAPTER_MEMORY": str(1 << 30)}
LORA = 'method = "lora"\nlearning_rate = 1e-3\nbatch_size = 4\nvalidation_share = 0\nforgetting = false\n'
LORA += "[lora]\nrank = 16\nalpha = 32\n"
RECIPES = {
    "by-heart": 'name = "by-heart"\ntrain = "by-heart.jsonl"\nepochs = 4\n',
    "reader": 'name = "reader"\ntrain = "reader.jsonl"\nindex = "authors"\nmax_tokens = 2048\n',
}
ARMS: tuple[dict[str, Any], ...] = (
    {"mode": "base"},
    {"mode": "by-heart"},
    {"mode": "rag"},
    {"mode": "by-heart+rag"},
    {"mode": "reader"},
    {"mode": "reader+rag"},
    *({"mode": "rag", "label": f"rag, k = {k}", "top_k": k} for k in (1, 4, 8)),
    *({"mode": "reader+rag", "label": f"reader+rag, k = {k}", "top_k": k} for k in (1, 4, 8)),
    *({"mode": "rag", "label": f"rag, {what}", "context": what} for what in ("none", "gold", "wrong")),
    *({"mode": "reader+rag", "label": f"reader+rag, {what}", "context": what} for what in ("none", "gold", "wrong")),
)
CHOOSING = ("base", "by-heart", "rag")
COMPARISONS = (
    ("rag", "by-heart"),
    ("by-heart+rag", "reader+rag"),
    ("by-heart+rag", "by-heart"),
    ("rag, k = 8", "rag"),
    ("reader+rag, k = 8", "reader+rag"),
    ("rag, wrong", "rag, none"),
    ("reader+rag, wrong", "reader+rag, none"),
)


def example(name: str, author: int, question: str, answer: str, **more: Any) -> Example:
    """One question about an author."""
    return Example(id=name, query=question, answers=(answer,), gold_documents=(f"{author:03d}.md",), **more)


def write(tofu: Path, folder: Path) -> None:
    """Documents, two files to train on, two to ask, the recipes and the suite."""
    chance = random.Random(SEED)
    facts = [json.loads(line) for line in (tofu / "facts.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [json.loads(line) for line in (tofu / "paraphrased-dev.jsonl").read_text(encoding="utf-8").splitlines()]
    by_author: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for fact in facts:
        by_author[fact["author"]].append(fact)
    (folder / "docs").mkdir(parents=True)
    for author, own in by_author.items():
        text = "\n\n".join(fact["answer"] for fact in own)
        (folder / "docs" / f"{author:03d}.md").write_text(f"# Author {author}\n\n{text}\n", encoding="utf-8")
    author_of = {fact["question"]: fact["author"] for fact in facts}
    asked = Counter(author_of[one["question"]] for one in told)
    chosen = {author for author, _ in sorted(asked.items(), key=lambda pair: (-pair[1], pair[0]))[:AUTHORS]}
    known = [one for one in told if author_of[one["question"]] in chosen]
    heldout = [
        example(
            f"asked-{number}",
            author_of[one["question"]],
            one["paraphrased_question"],
            one["paraphrased_answer"],
            choices=(one["paraphrased_answer"], *one["perturbed_answer"]),
        )
        for number, one in enumerate(chance.sample(known, min(ASKED, len(known))))
    ]
    others = [fact for fact in facts if fact["author"] not in asked]
    files = {
        "heldout": heldout,
        "by-heart": [fact_example(fact) for author in sorted(chosen) for fact in by_author[author]],
        "reader": [fact_example(fact) for fact in chance.sample(others, READ)],
    }
    for name, examples in files.items():
        (folder / f"{name}.jsonl").write_text("".join(one.model_dump_json() + "\n" for one in examples))
    for name, recipe in RECIPES.items():
        (folder / f"{name}.toml").write_text(recipe + LORA)
    (folder / "suite.toml").write_text(suite())


def fact_example(fact: dict[str, Any]) -> Example:
    """A fact as it is trained on."""
    return example(f"fact-{fact['id']}", fact["author"], fact["question"], fact["answer"])


def suite() -> str:
    """Every arm on the questions, the controls and other depths of retrieval on fewer; three arms on the choices."""
    text = 'name = "TOFU, facts in other words"\nconcurrency = 48\nalone = 4\ntimeout = 900\nhourly_rate = 0.1\n'
    text += (
        '[[tasks]]\nname = "facts"\nexamples = "heldout.jsonl"\nmetrics = ["rouge_l", "token_f1"]\nmax_tokens = 48\n'
    )
    text += '[[tasks]]\nname = "choices"\nexamples = "heldout.jsonl"\nmetrics = ["choice_accuracy_per_token"]\n'
    text += f"limit = {CHOSEN}\n"
    for arm in ARMS:
        tasks = ["facts", "choices"] if arm["mode"] in CHOOSING and "label" not in arm else ["facts"]
        text += "[[arms]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in arm.items())
        text += f"tasks = {json.dumps(tasks)}\n"
        text += f"limits = {{ facts = {FEWER} }}\n" if "label" in arm else ""
    return text + "".join(
        f'[[comparisons]]\ntask = "facts"\nmetric = "rouge_l"\narm = "{arm}"\nover = "{over}"\n'
        for arm, over in COMPARISONS
    )


def main() -> None:
    """All of it; the last line is the JSON of scores, differences and verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".tofu"))
    parser.add_argument("--tofu", type=Path, default=Path("../shared/data/tofu"))
    args = parser.parse_args()
    if not (args.tofu / "facts.jsonl").is_file():
        parser.error(f"there is no {args.tofu}/facts.jsonl; name the folder with --tofu")
    folder = args.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    write(args.tofu, folder)
    commands = Commands({**os.environ, **SET, "RAGTUNE_HOME": str(folder / "home")}, results_to_stderr=True)
    commands.run("index", "build", str(folder / "docs"), "--name", "authors")
    for name in RECIPES:
        commands.run("train", str(folder / f"{name}.toml"))
    with commands.serve(folder / "server.log"):
        asking = ("eval", "run", str(folder / "suite.toml"), "--out", str(folder / "run"), "--wide")
        commands.run(*asking, "--allow-leaks")  # what was learned by heart is asked in other words: as meant
    commands.run("eval", "report", str(folder / "run"), "--json", results=folder / "report.json")
    report = json.loads((folder / "report.json").read_text())["report"]
    scores = {arm["name"]: {task: found["scores"] for task, found in arm["tasks"].items()} for arm in report["arms"]}
    print(json.dumps({name: report[name] for name in ("differences", "ladders", "verdicts")} | {"scores": scores}))


if __name__ == "__main__":
    main()
