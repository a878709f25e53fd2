"""Training a LoRA of SmolLM2 on the CPU: ragtune beside TRL's SFTTrainer and a plain loop, measured in the same run.

1. The same batches for both: 10 steps of 4 rows of 150 to 300 tokens; losses and tokens/s, medians of the rounds.
2. Each with its own batching on the mix `long-tail` (60 % of 40 to 80 tokens, 30 % of 150 to 300, 10 % of 600 to 900):
   ragtune in pieces of like length, TRL with those of its options that are the fastest here, of the four below. Steps
   of four rows for both. Time for the same examples, and the validation loss after them.
3. Peak memory on one batch of 4 rows of about 512 tokens: loading, two steps.

The rows are the demo's questions and listings, with as many sections of its documents before them as fit the length,
as ragtune renders them. Set equal: see benchmarks/training_sides.py. Every measurement is a process of its own; the
sides take turns. TRL is installed by `.venv/bin/pip install -c constraints.txt -e '.[bench]'`.

    python benchmarks/training.py [--rounds 3] [--threads 2]
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adapters.base_model import locate_base_model
from adapters.tokenizer import Tokenizer, load_tokenizer
from ragtune.demo.company import write_company
from ragtune.examples import Example, read_examples
from ragtune.prompt import Message, render
from ragtune.settings import Settings
from ragtune.template import Template
from ragtune.terminal import say
from ragtune.wire import Passage

SEED, STEPS, ROWS, WARM_UP = 0, 10, 4, 2
SHORT, MEDIUM, LONG, WIDE = (40, 80), (150, 300), (600, 900), (500, 512)
LONG_TAIL = [SHORT] * 6 + [MEDIUM] * 3 + [LONG]
MIXED, TRIAL, VALIDATION, BATCH = 120, 20, 40, 4
Row = tuple[str, tuple[int, ...], tuple[int, ...]]
# One step is of BATCH rows for TRL, too, in pieces: ten rows padded to 900 tokens at once took 20 GB.
TRL_OPTIONS: dict[str, dict[str, Any]] = {
    "one by one": {"train_sampling_strategy": "random", "per_device_train_batch_size": 1},
    "in twos": {"train_sampling_strategy": "random", "per_device_train_batch_size": 2},
    "grouped by length, in twos": {"train_sampling_strategy": "group_by_length", "per_device_train_batch_size": 2},
    "padding-free, in fours": {
        "train_sampling_strategy": "random",
        "per_device_train_batch_size": 4,
        "padding_free": True,
    },
}


class Supply:
    """The demo's questions and listings, with sections of its documents before them."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        files, self.chance, self.tokenizer = write_company(folder), random.Random(SEED), tokenizer
        self.sections = [
            text for path in sorted(files.docs.rglob("*.md")) for text in path.read_text().split("\n\n")[2::2]
        ]
        self.examples = read_examples(files.knowledge_train) + read_examples(files.extraction_train)

    def rows(self, lengths: list[tuple[int, int]]) -> list[Row]:
        """One row (id, prompt, answer) for each (least, most) tokens, in a random order."""
        made = [self._row(*bounds) for bounds in lengths]
        self.chance.shuffle(made)
        return made

    def _row(self, least: int, most: int) -> Row:
        while True:  # until the last section did not take it over the length
            example, wanted, texts = self.chance.choice(self.examples), self.chance.randint(least, most), list[str]()
            row = self._rendered(example, texts)
            while len(row[1]) + len(row[2]) < wanted:
                texts.append(self.chance.choice(self.sections))
                row = self._rendered(example, texts)
            if len(row[1]) + len(row[2]) <= most:
                return row

    def _rendered(self, example: Example, texts: list[str]) -> Row:
        passages = [
            Passage(id=f"p{i}", document=f"{i}.md", text=text, start=0, end=len(text)) for i, text in enumerate(texts)
        ]
        prompt = render([Message(role="user", content=example.query)], passages, Template(), self.tokenizer)
        return example.id, prompt.token_ids, tuple(self.tokenizer.encode_answer(example.answers[0]))


class Side:
    """Runs benchmarks/training_sides.py."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads

    def run(self, side: str, steps: list[list[Row]], **more: Any) -> dict[str, Any]:
        """What the side says of training on `steps`."""
        job = {"steps": steps, "validation": [], "as_given": True, "trl": {}, "batch_size": BATCH}
        (self.folder / "job.json").write_text(json.dumps({**job, "threads": self.threads, **more}))
        sides = Path(__file__).with_name("training_sides.py")
        command = [sys.executable, str(sides), side, str(self.folder / "job.json")]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, capture_output=True, text=True, env={**environment, "HF_HUB_OFFLINE": "1"})
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        say(f"  {side}: {sum(result['seconds']):.1f} s, peak {result['peak'] / 1e9:.2f} GB")
        return result


def same_batches(side: Side, supply: Supply, rounds: int) -> dict[str, float]:
    """Part 1."""
    say(f"the same {STEPS} batches of {ROWS} rows")
    steps = [supply.rows([MEDIUM] * ROWS) for _ in range(STEPS)]
    tokens = sum(len(prompt) + len(answer) for batch in steps[WARM_UP:] for _, prompt, answer in batch)
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    for _ in range(rounds):
        for name, results in found.items():
            results.append(side.run(name, steps))
    rate = {name: [tokens / sum(r["seconds"][WARM_UP:]) for r in results] for name, results in found.items()}
    pairs = zip(found["ours"][0]["losses"], found["trl"][0]["losses"], strict=True)
    return {
        "tokens_per_second": statistics.median(rate["ours"]),
        "trl_tokens_per_second": statistics.median(rate["trl"]),
        "speedup": statistics.median(a / b for a, b in zip(rate["ours"], rate["trl"], strict=True)),
        "max_loss_difference": max(abs(a - b) for a, b in pairs),
    }


def own_batching(side: Side, supply: Supply, rounds: int) -> dict[str, Any]:
    """Part 2."""
    mixed, validation = (supply.rows(LONG_TAIL * (count // 10)) for count in (MIXED, VALIDATION))
    usual = [mixed[at : at + BATCH] for at in range(0, MIXED, BATCH)]  # the size of TRL's batches
    say(f"each with its own batching: TRL's options on {TRIAL} rows")
    trials = {name: sum(side.run("trl", usual[: TRIAL // BATCH], trl=o)["seconds"]) for name, o in TRL_OPTIONS.items()}
    best = min(trials, key=trials.__getitem__)
    say(f"TRL is fastest {best}; now {MIXED} rows")
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    for _ in range(rounds):
        for name, results in found.items():
            results.append(side.run(name, usual, validation=validation, as_given=False, trl=TRL_OPTIONS[best]))
    times = {name: [sum(result["seconds"]) for result in results] for name, results in found.items()}
    ours, trl = found["ours"][0], found["trl"][0]
    return {
        "mix": "long-tail",
        "own_batching_speedup": statistics.median(b / a for a, b in zip(times["ours"], times["trl"], strict=True)),
        "validation_loss": ours["validation"],
        "trl_validation_loss": trl["validation"],
        "optimiser_steps": len(ours["losses"]),
        "trl_optimiser_steps": len(trl["losses"]),
        "trl_options": best,
        "trl_trial_seconds": trials,
    }


def memory(side: Side, supply: Supply) -> dict[str, float]:
    """Part 3."""
    say("peak memory, one batch of 4 rows of 512 tokens, two steps")
    batch = supply.rows([WIDE] * 4)
    peak = {name: side.run(name, [batch] * 2)["peak"] for name in ("ours", "trl", "plain")}
    figures = {f"{name}_peak_gb": value / 1e9 for name, value in peak.items()}
    return {"memory_over_plain": peak["ours"] / peak["plain"], **figures}


def main() -> None:
    """All three; the last line is the JSON of the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if find_spec("trl") is None:
        parser.error("TRL is not installed: run .venv/bin/pip install -c constraints.txt -e '.[bench]'")
    tokenizer = load_tokenizer(locate_base_model(Settings.load()).folder)
    with tempfile.TemporaryDirectory() as scratch:
        supply, side = Supply(Path(scratch) / "company", tokenizer), Side(Path(scratch), args.threads)
        figures: dict[str, Any] = same_batches(side, supply, args.rounds)
        figures |= own_batching(side, supply, max(1, args.rounds - 1))
        figures |= memory(side, supply)
    rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in figures.items()}
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
