"""Writes docs/guides/when-something-is-wrong.md: what a newcomer sees when something is, by really doing it.

    .venv/bin/python scripts/write_error_transcript.py         # about a minute; needs the embedded models

Every command runs in a throw-away folder; its name, and that of this machine's environment, are replaced by stand-ins.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from ragtune.commands import Commands

FILE = Path(__file__).parents[1] / "docs" / "guides" / "when-something-is-wrong.md"
HEAD = """# When something is wrong

What you see then, and first what `ragtune doctor` says when nothing is. Everything below was printed by the real
commands and is written again by `scripts/write_error_transcript.py`; only folders are replaced. An exit code is shown
where it is not 0. Every `--help` page stands in [the command line reference](../reference/command-line.md).
"""
RECIPE = 'name = "support-lora"\nmethod = "lora"\ntrain = "train.jsonl"\n'
EXAMPLE = '{"id": "1", "query": "How long is the warranty?", "answers": ["26 months"]}\n'


class Transcript:
    """Commands and what they print, as Markdown. `place` is the folder they run in."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.parts = [HEAD]
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("RAGTUNE_")}
        self.environ |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAGTUNE_HOME": str(place / "home"),
            "RAGTUNE_CACHE": str(place / "cache"),
            "COLUMNS": "110",
            "NO_COLOR": "1",
        }

    def section(self, title: str, words: str = "") -> None:
        """A heading."""
        self.parts.append(f"## {title}\n" + (f"\n{words}\n" if words else ""))

    def run(self, command: str, **settings: str) -> None:
        """Run a line of shell and keep it with what it printed."""
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.place,
            env=self.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        typed = " ".join([*(f"{name}={value}" for name, value in settings.items()), command])
        code = f"\n[exit code {done.returncode}]" if done.returncode else ""
        self.parts.append(f"```console\n$ {self.shown(typed)}\n{self.shown(done.stdout).strip()}{code}\n```\n")

    def shown(self, text: str) -> str:
        """Without this machine's folders, and without what changes from run to run."""
        text = text.replace(str(self.place), "/home/you").replace(sys.prefix, "/home/you/ragtune/.venv")
        text = re.sub(r"rt-K[0-9A-F]{10}-[0-9a-f]{64}", "rt-K5E1F0A2B3C-0123...cdef", text)
        text = re.sub(r"\bK[0-9A-F]{10}\b", "K5E1F0A2B3C", text)
        return re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:8000", text)


def adapter_of_another_base(folder: Path) -> None:
    """A LoRA of a model with other shapes."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=320))
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")).save_pretrained(folder)


def write(transcript: Transcript) -> None:
    """Everything, in the order a newcomer might meet it."""
    place, run, section = transcript.place, transcript.run, transcript.section
    subprocess.run([sys.executable, "-m", "ragtune", "doctor", "--prepare"], env=transcript.environ, check=True)
    section("Nothing is wrong")
    run("ragtune doctor")

    section("A misspelt command or setting")
    run("ragtune quary 'How long is the warranty?'")
    run("ragtune serve", RAGTUNE_PROT="9000")
    run("ragtune serve", RAGTUNE_PORT="ninety")

    section("No model", "A base model that is not there, in a format that is not read, or of an unknown kind.")
    run("ragtune serve", RAGTUNE_BASE_MODEL="/models/smollm")
    (place / "gpt2").mkdir()
    (place / "gpt2" / "config.json").write_text('{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}')
    run("ragtune serve", RAGTUNE_BASE_MODEL="./gpt2")
    run("ragtune doctor | tail -4", RAGTUNE_BASE_MODEL="./gpt2")

    section("The port is taken")
    with socket.create_server(("127.0.0.1", 8123)):
        run("ragtune serve --port 8123")

    section("Listening where others come by, without an API key")
    run("ragtune serve --host 0.0.0.0")

    section("No service is running")
    run("ragtune query 'How long is the warranty?'", RAGTUNE_PORT="8124")

    section("A wrong path, an empty folder, a broken document")
    (place / "empty").mkdir()
    (place / "docs").mkdir()
    (place / "docs" / "warranty.md").write_text("# Warranty\n\nThe Brevik pump has a warranty of 26 months.\n")
    (place / "docs" / "broken.jsonl").write_text('{"id": "a", "text": "Send it back within 9 days."}\n{"id": "b"}\n')
    (place / "docs" / "scan.txt").write_bytes(b"\xff\xfe\x00binary")
    run("ragtune index build dcos --name handbook")
    run("ragtune index build empty --name handbook")
    run("ragtune index build docs --name Handbook")
    run("ragtune index build docs --name handbook")

    section("A broken recipe")
    (place / "train.jsonl").write_text(EXAMPLE)
    for name, text in (
        ("misspelt", RECIPE + "learning_rat = 1e-4\n"),
        ("method", RECIPE.replace('"lora"', '"lorra"')),
        ("no-data", RECIPE.replace("train.jsonl", "trian.jsonl")),
        ("no-index", RECIPE + 'index = "handbok"\n'),
    ):
        (place / f"{name}.toml").write_text(text)
        run(f"ragtune train {name}.toml")
    (place / "train.jsonl").write_text(EXAMPLE + '{"id": "2", "query": "Why?", "answers": []}\n')
    (place / "support-lora.toml").write_text(RECIPE)
    run("ragtune train support-lora.toml")

    section("An adapter of another base model, and other things that are no adapter")
    adapter_of_another_base(place / "other-lora")
    run("ragtune adapter add support-lora other-lora")
    shutil.copytree(place / "other-lora", place / "pickled-lora")
    (place / "pickled-lora" / "adapter_model.safetensors").unlink()
    (place / "pickled-lora" / "adapter_model.bin").write_bytes(b"\x80\x02}q\x00.")
    run("ragtune adapter add support-lora pickled-lora")
    config = json.loads((place / "other-lora" / "adapter_config.json").read_text())
    (place / "other-lora" / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    run("ragtune adapter add support-lora other-lora")
    run("ragtune adapter add support-lora docs")

    section("A mode nobody knows, a prompt that does not fit", "Against a running service, over HTTP.")
    with Commands(transcript.environ).serve(place / "server.log") as url:
        run("ragtune query 'How long is the warranty?' --mode rag:hanbook")
        run("ragtune query 'How long is the warranty?' --mode base+rag")
        post = f"curl -s {url}/v1/{{}} -H 'content-type: application/json' -d '{{}}'"
        run(post.format("query", '{"query": "How long is the warranty?", "mode": "suport-lora"}'))
        run(post.format("query", '{"qery": "How long is the warranty?"}'))
        run(post.format("completions", '{"model": "base", "prompt": "Once", "max_tokens": 5000}'))
        run(post.format("completions", '{"model": "base", "prompt": "Once", "suffix": "upon a time"}'))
        run(f"curl -s {url}/v1/models -H 'host: evil.example'")
        run("ragtune serve --port 8125")

        section("No API key, a wrong one, one without the scope", "From the first key on, everyone needs one.")
        run("ragtune key create support-app --scope query | tee key")
        run(f"curl -s {url}/v1/models")
        run(f"curl -s {url}/v1/models -H 'authorization: Bearer rt-K5E1F0A2B3C-wrong'")
        run(f'curl -s -X DELETE {url}/v1/adapters/support-lora -H "authorization: Bearer $(cat key)"')
        run("ragtune key create support-app --scope admin")
        run("ragtune key revoke suport-app")

    section("A broken suite")
    (place / "suite.toml").write_text(
        'name = "mine"\n[[arms]]\nmode = "base"\n'
        '[[tasks]]\nname = "k"\nexamples = "train.jsonl"\nmetrics = ["exact_mach"]\n'
    )
    run("ragtune eval run suite.toml")


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as name:
        transcript = Transcript(Path(name).resolve())
        write(transcript)
        FILE.write_text("\n".join(transcript.parts), encoding="utf-8")


if __name__ == "__main__":
    main()
