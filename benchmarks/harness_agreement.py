"""lm-evaluation-harness over /v1/completions against transformers and PEFT: the same items, the same accuracies.

The harness, from its package and in an environment of its own, asks a running service in three modes: `base`, a LoRA,
a soft prompt (random weights: nothing is trained). One task compares the log likelihoods of four options (`echo`,
`logprobs`), one generates greedily. The same is computed here, eager, fp32, a batch of one, and compared item by item:
the option chosen with and without normalisation by length, whether each option is greedy, each text. Items are facts
of the demo's invented company, drawn by a fixed seed; no data is downloaded.

    python3 -m venv /tmp/envs/lmeval && /tmp/envs/lmeval/bin/pip install 'lm-eval[api]==0.4.13' 'transformers==5.23.0'
    python benchmarks/harness_agreement.py --harness /tmp/envs/lmeval/bin/lm_eval

The last line is the JSON; the exit status is 1 if they do not agree. Where the direct computation itself is within
1e-3 of the other outcome, a difference is a tie: counted, but no disagreement.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.base_model import locate_base_model
from ragtune.commands import Commands
from ragtune.demo.facts import PRODUCT, Fact
from ragtune.demo.names import Names
from ragtune.settings import Settings

MODES, CHOICE, GENERATION = ("base", "lora", "soft"), "company_choice", "company_generation"
SEED, OPTIONS, NEW_TOKENS, TIE, TOLERANCE = 20261125, 4, 12, 1e-3, 2e-3
INSTRUCTION = "Read the facts and give the short answer."
SHOWN = "The Ulwick 7 is cast from dorane.\nQuestion: What is the housing of the Ulwick 7 made of?\nAnswer: dorane\n\n"


@dataclass(frozen=True)
class Item:
    """One question about a fact that is stated in `prompt`."""

    id: int
    prompt: str
    options: list[str]
    answer: str


def make_items(count: int, chance: random.Random, names: Names) -> list[Item]:
    """Questions, each after two facts of one kind about two products; the other options are of the same kind."""
    items = []
    for number in range(count):
        kind, facts = PRODUCT[number % len(PRODUCT)], dict[str, Fact]()
        while len(facts) < OPTIONS:
            value = kind.value(chance, names)
            facts[value] = Fact(kind, f"{names.title()} {chance.randrange(2, 90)}", value)
        asked, other = list(facts.values())[:2]
        stated, options = [asked.sentence(chance), other.sentence(chance)], list(facts)
        chance.shuffle(stated)
        chance.shuffle(options)
        prompt = f"{SHOWN}{' '.join(stated)}\nQuestion: {asked.question(chance, heldout=True)}\nAnswer:"
        items.append(Item(number, prompt, options, asked.value))
    return items


def write_tasks(folder: Path, items: dict[str, list[Item]]) -> None:
    """The harness's two tasks with their items; its YAML is written as JSON, which YAML contains."""
    stripped = {"name": "none", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
    greedy = {"until": ["\n"], "max_gen_toks": NEW_TOKENS, "do_sample": False, "temperature": 0}
    scored = {"metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}], "doc_to_choice": "options"}
    exact = {"metric_list": [{"metric": "exact_match"}], "filter_list": [stripped], "generation_kwargs": greedy}
    special: dict[str, dict[str, Any]] = {
        CHOICE: {"output_type": "multiple_choice", "doc_to_target": "{{options.index(answer)}}", **scored},
        GENERATION: {"output_type": "generate_until", "doc_to_target": "answer", **exact},
    }
    for task, more in special.items():
        data = folder / f"{task}.jsonl"
        data.write_text("".join(json.dumps(asdict(item)) + "\n" for item in items[task]))
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
        (folder / f"{task}.yaml").write_text(json.dumps({"task": task, **source, "doc_to_text": "prompt", **more}))


def make_adapters(base: Path, tokenizer: Any, folder: Path) -> None:
    """A random LoRA, weak enough to leave sense in the answers, and a soft prompt close to an instruction's words."""
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=6, target_modules="all-linear", init_lora_weights=False)
    wrapped = get_peft_model(model, config)
    wrapped.save_pretrained(folder / "lora")
    words = tokenizer(INSTRUCTION, add_special_tokens=False)["input_ids"][:8]
    soft = get_peft_model(wrapped.unload(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8))
    with torch.no_grad():
        embedded = soft.get_input_embeddings()(torch.tensor(words))
        soft.prompt_encoder["default"].embedding.weight.copy_(embedded + 0.02 * torch.randn_like(embedded))
    soft.save_pretrained(folder / "soft")


def ask(args: argparse.Namespace, url: str, mode: str, base: Path, folder: Path) -> dict[str, Any]:
    """The harness's results of one mode, its answers beside them. Raises CalledProcessError if it fails."""
    model = f"model={mode},base_url={url}/v1/completions,tokenizer={base},tokenizer_backend=huggingface"
    model += f",tokenized_requests=True,num_concurrent={args.concurrent}"
    command = [str(args.harness), "run", "--model", "local-completions", "--model_args", model, "--log_samples"]
    command += ["--tasks", CHOICE, GENERATION, "--include_path", str(folder), "--batch_size", str(args.batch)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "TOKENIZERS_PARALLELISM": "false"}
    out = folder / "out" / mode
    subprocess.run([*command, "--output_path", str(out)], check=True, stdout=sys.stderr, env=os.environ | offline)
    (results,) = out.rglob("results_*.json")
    found: dict[str, Any] = json.loads(results.read_text())["results"]
    for task in (CHOICE, GENERATION):
        (samples,) = out.rglob(f"samples_{task}_*.jsonl")
        logged = [json.loads(line) for line in samples.read_text().splitlines()]
        found[task]["answers"] = {sample["doc"]["id"]: sample["resps"] for sample in logged}
    return found


class Direct:
    """transformers and PEFT, eager, fp32, one request at a time."""

    def __init__(self, base: Path, tokenizer: Any, adapter: Path | None) -> None:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
        self._model = (PeftModel.from_pretrained(model, str(adapter)) if adapter else model).eval()
        self._tokenizer = tokenizer

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def score(self, prompt: str, option: str) -> tuple[float, float]:
        """The option's log likelihood, and the least lead of its tokens over the best other: it is greedy if positive.

        Encoded together and cut where the prompt alone would end, as the harness does.
        """
        ids, start = self._encode(f"{prompt} {option}"), len(self._encode(prompt))
        logits = self._model(input_ids=torch.tensor([ids]), logits_to_keep=len(ids) - start + 1).logits[0, :-1]
        logprobs, targets = logits.log_softmax(-1), torch.tensor(ids[start:])[:, None]
        own = logprobs.gather(1, targets)
        others = logprobs.scatter(1, targets, -torch.inf).amax(1, keepdim=True)
        return own.sum().item(), (own - others).min().item()

    @torch.no_grad()
    def generate(self, prompt: str) -> list[tuple[str, float]]:
        """After each greedy token: the text so far, up to a line's end, and the lead of that token's logit."""
        ids = torch.tensor([self._encode(prompt)])
        asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": NEW_TOKENS}
        done = self._model.generate(**asked, do_sample=False, output_logits=True, return_dict_in_generate=True)
        leads = [(best[0, 0] - best[0, 1]).item() for best in (step.topk(2).values for step in done.logits)]
        new = done.sequences[0, -len(leads) :]
        texts = [self._tokenizer.decode(new[: n + 1], skip_special_tokens=True) for n in range(len(leads))]
        return [(text.split("\n")[0], lead) for text, lead in zip(texts, leads, strict=True)]


def compare_choices(direct: Direct, answers: dict[int, Any], items: list[Item]) -> dict[str, Any]:
    """Accuracies, the worst difference, and of each item how far `direct` is from what the harness found otherwise."""
    right, worst, margins = {"acc": 0, "acc_norm": 0}, 0.0, list[list[float]]()
    for item in items:
        served = [(float(ll), greedy == "True") for ((ll, greedy),) in answers[item.id]]
        scored = [direct.score(item.prompt, option) for option in item.options]
        margins.append([abs(b[1]) for a, b in zip(served, scored, strict=True) if a[1] != (b[1] > 0)])
        worst = max(worst, *(abs(a[0] - b[0]) for a, b in zip(served, scored, strict=True)))
        for metric, lengths in {"acc": [1] * OPTIONS, "acc_norm": [len(option) for option in item.options]}.items():
            theirs, ours = ([ll / n for (ll, _), n in zip(of, lengths, strict=True)] for of in (served, scored))
            chosen, expected = theirs.index(max(theirs)), ours.index(max(ours))
            right[metric] += item.options[expected] == item.answer
            margins[-1] += [ours[expected] - ours[chosen]] if chosen != expected else []
    return {name: count / len(items) for name, count in right.items()} | {"worst": worst, "margins": margins}


def compare_texts(direct: Direct, answers: dict[int, Any], items: list[Item]) -> dict[str, Any]:
    """The same for generated texts: the lead of the token from which on they differ."""
    right, margins = 0, list[list[float]]()
    for item in items:
        ((text,),), steps = answers[item.id], direct.generate(item.prompt)
        right += steps[-1][0].strip() == item.answer
        parting = next((lead for ours, lead in steps if not text.startswith(ours)), steps[-1][1])
        margins.append([parting] if text != steps[-1][0] else [])
    return {"exact_match": right / len(items), "margins": margins}


def compare(direct: Direct, found: dict[str, Any], items: dict[str, list[Item]]) -> dict[str, Any]:
    """The row of one mode."""
    choices = compare_choices(direct, found[CHOICE]["answers"], items[CHOICE])
    texts = compare_texts(direct, found[GENERATION]["answers"], items[GENERATION])
    theirs, ours = found[CHOICE] | found[GENERATION], choices | texts
    names, margins = ("acc", "acc_norm", "exact_match"), choices["margins"] + texts["margins"]
    row: dict[str, Any] = {}
    for name in names:
        row |= {name: theirs[f"{name},none"], f"{name}_direct": ours[name]}
    differing = [each for each in margins if each]
    ties = sum(max(each) < TIE for each in differing)
    equal = ties > 0 or all(abs(row[name] - row[f"{name}_direct"]) < 1e-9 for name in names)
    agree = equal and ties == len(differing) and choices["worst"] <= TOLERANCE
    row |= {"worst_loglikelihood_difference": choices["worst"], "items": len(margins)}
    return row | {"differing_items": len(differing), "ties": ties, "agree": agree}


def main() -> None:
    """All of it; the last line is the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", type=Path, required=True, help="lm_eval in an environment of its own")
    parser.add_argument("--choices", type=int, default=80, help="multiple-choice items")
    parser.add_argument("--generations", type=int, default=40, help="generation items")
    parser.add_argument("--concurrent", type=int, default=4, help="requests the harness keeps open")
    parser.add_argument("--batch", type=int, default=4, help="prompts in one request")
    args = parser.parse_args()
    base = locate_base_model(Settings.load()).folder
    tokenizer = AutoTokenizer.from_pretrained(base)
    chance = random.Random(SEED)
    names = Names(chance)
    sizes = {CHOICE: args.choices, GENERATION: args.generations}
    items = {task: make_items(count, chance, names) for task, count in sizes.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tasks(folder, items)
        make_adapters(base, tokenizer, folder)
        commands = Commands({**os.environ, "RAGTUNE_HOME": str(folder / "home")}, results_to_stderr=True)
        for mode in MODES[1:]:
            commands.run("adapter", "add", mode, str(folder / mode))
        with commands.serve(folder / "server.log") as url:
            found = {mode: ask(args, url, mode, base, folder) for mode in MODES}
        rows: dict[str, Any] = {}
        for mode in MODES:
            direct = Direct(base, tokenizer, folder / mode if mode in MODES[1:] else None)
            rows[mode] = compare(direct, found[mode], items)
            print(f"{mode}: {rows[mode]}", file=sys.stderr)
    agree = all(row["agree"] for row in rows.values())
    print(json.dumps(rows | {"agree": agree}))
    sys.exit(not agree)


if __name__ == "__main__":
    main()
