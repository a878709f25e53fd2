"""An evaluation of eight arms, all questions at once against one request at a time, by `ragtune eval run`.

Five arms are closed-book (base, a template, two LoRAs, a soft prompt), three retrieve with 250 tokens of passages.
Each of the four runs asks a service of its own, started anew, so that none finds another's prompts computed. Answers
must be the same, but where the two best tokens lie within 1e-3 of each other at the place where they first differ.

    python benchmarks/evaluation.py [--questions 12]
"""

import argparse
import json
import os
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from adapters.base_model import locate_base_model
from ragtune.commands import Commands
from ragtune.demo.company import write_company
from ragtune.settings import Settings
from ragtune.terminal import say

NEW, MARGIN = 32, 1e-3
ARMS = {
    "closed_book": ("base", "prompt:knowledge-plain", "first-lora", "second-lora", "some-soft"),
    "rag": ("rag", "first-lora+rag", "some-soft+rag"),
}
SET = {"RAGTUNE_PASSAGE_TOKENS": "250", "RAGTUNE_TOP_K": "4", "RAGTUNE_ADAPTER_MEMORY": str(1 << 30)}
TEMPLATE = Path(__file__).parents[1] / "ragtune" / "demo" / "templates" / "knowledge-plain.toml"


def make_adapters(folder: Path) -> list[Path]:
    """Two LoRAs that change a little, and a soft prompt, seeded, saved by PEFT."""
    model = AutoModelForCausalLM.from_pretrained(locate_base_model(Settings.load()).folder, dtype=torch.float32)
    for seed, name in enumerate(("first-lora", "second-lora")):
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear"))
        with torch.no_grad():
            for weight, parameter in wrapped.named_parameters():
                if "lora_B" in weight:
                    parameter.normal_(0.0, 0.003)
        wrapped.save_pretrained(folder / name)
        model = wrapped.unload()
    soft = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=16)
    get_peft_model(model, soft).save_pretrained(folder / "some-soft")
    return [folder / name for name in ("first-lora", "second-lora", "some-soft")]


def suite(kind: str, concurrency: int, questions: int) -> str:
    """The arms of a kind, each asked so many of the demo's held-out questions."""
    text = f'name = "{kind}"\nconcurrency = {concurrency}\nalone = 0\ntimeout = 600\n[[tasks]]\nname = "knowledge"\n'
    text += f'examples = "knowledge-heldout.jsonl"\nmetrics = ["token_f1"]\nmax_tokens = {NEW}\nlimit = {questions}\n'
    return text + "".join(f'[[arms]]\nmode = "{mode}"\n' for mode in ARMS[kind])


def measured(folder: Path, commands: Commands, kind: str, concurrency: int, questions: int) -> dict[str, Any]:
    """One run on a fresh service: its seconds, and its answers by arm and example."""
    name = f"{kind}-{concurrency}"
    (folder / f"{name}.toml").write_text(suite(kind, concurrency, questions))
    with commands.serve(folder / "server.log"):
        commands.run("eval", "run", str(folder / f"{name}.toml"), "--out", str(folder / name))
    items = [json.loads(line) for line in (folder / name / "run.jsonl").read_text().splitlines()]
    if failed := [item["error"] for item in items if item["error"]]:
        sys.exit(f"{len(failed)} questions failed, the first with: {failed[0]}")
    answers = {(item["arm"], item["query"]): (item["reply"]["text"], item["scores"]) for item in items}
    seconds: float = json.loads((folder / name / "run.json").read_text())["seconds"]
    say(f"{name}: {seconds:.1f} s for {len(items)} answers")
    return {"seconds": seconds, "answers": answers}


def lead(url: str, mode: str, query: str, differs_at: int) -> float:
    """By how much the likeliest token led the next one where the text reaches character `differs_at`."""
    body = {"model": mode, "messages": [{"role": "user", "content": query}], "max_tokens": NEW, "temperature": 0}
    found = httpx.post(f"{url}/v1/chat/completions", json=body | {"logprobs": True, "top_logprobs": 2}, timeout=120)
    length = 0
    for token in found.raise_for_status().json()["choices"][0]["logprobs"]["content"]:
        length += len(token["token"])
        if length > differs_at:
            best, second = (top["logprob"] for top in token["top_logprobs"])
            return float(best - second)
    return 0.0  # one of the two ended here


def check_equal(commands: Commands, folder: Path, first: dict[Any, Any], second: dict[Any, Any]) -> tuple[int, int]:
    """How many answers differ where they may, and how many where they may not."""
    changed = [key for key in first if first[key][0] != second[key][0]]
    if not changed:
        return 0, 0
    with commands.serve(folder / "server.log") as url:
        leads = []
        for mode, query in changed:
            pairs = zip_longest(first[mode, query][0], second[mode, query][0])
            at = next(n for n, (a, b) in enumerate(pairs) if a != b)
            leads.append(lead(url, mode, query, at))
    say(f"{len(changed)} answers differ; the two best tokens were apart by {[round(x, 5) for x in leads]}")
    return sum(x < MARGIN for x in leads), sum(x >= MARGIN for x in leads)


def main() -> None:
    """All four runs; the last line is the JSON of the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=12, help="of each arm")
    questions = parser.parse_args().questions
    figures: dict[str, Any] = {"arms": sum(map(len, ARMS.values())), "questions": questions, "new_tokens": NEW}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_company(folder)
        commands = Commands({**os.environ, **SET, "RAGTUNE_HOME": str(folder / "home")}, results_to_stderr=True)
        commands.run("index", "build", str(folder / "docs"), "--name", "handbook")
        commands.run("template", "add", "knowledge-plain", str(TEMPLATE))
        for path in make_adapters(folder):
            commands.run("adapter", "add", path.name, str(path))
        near, different = 0, 0
        for kind in ARMS:
            at_once = measured(folder, commands, kind, questions * len(ARMS[kind]), questions)
            alone = measured(folder, commands, kind, 1, questions)
            figures[f"{kind}_time_ratio"] = round(at_once["seconds"] / alone["seconds"], 3)
            figures[f"{kind}_seconds"] = [at_once["seconds"], alone["seconds"]]
            counted = check_equal(commands, folder, alone["answers"], at_once["answers"])
            near, different = near + counted[0], different + counted[1]
            same = [alone["answers"][key][1] == scores for key, (_, scores) in at_once["answers"].items()]
            figures[f"{kind}_scores_equal"] = sum(same) / len(same)
    print(json.dumps(figures | {"near_ties_flipped": near, "answers_changed": different}))


if __name__ == "__main__":
    main()
