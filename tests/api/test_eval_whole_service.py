"""The evaluator against a real service with a tiny model: every kind of task is had, and choices are scored right."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from adapters.base_model import BaseModelInfo
from adapters.tokenizer import Tokenizer
from eval.run import plan, run_suite
from eval.runfile import Item, read_run
from eval.suite import read_suite
from ragtune.prompt import Message, render
from ragtune.remote import Target
from ragtune.settings import Settings
from ragtune.template import Template
from service.engine.client import EngineClient
from service.parts import Parts
from tests.api.conftest import Make, Serve
from tests.tiny import tiny_model

SUITE = """
name = "whole"
alone = 1

[[tasks]]
name = "choosing"
examples = "choices.jsonl"
metrics = ["choice_accuracy", "perplexity"]

[[tasks]]
name = "retrieving"
examples = "found.jsonl"
metrics = ["recall", "mrr"]

[[tasks]]
name = "asking"
examples = "asked.jsonl"
metrics = ["containment", "recall", "groundedness"]
max_tokens = 4
"""
ARMS = {"base": "choosing", "my-lora+rag": "", "prompt:brief+rag": "asking", "my-soft": "choosing"}
CHOICE = {"id": "c", "query": "Why?", "answers": ["so"], "choices": ["so", "never mind"]}
FOUND = {"id": "f", "query": "How long is the warranty?", "answers": [], "gold_documents": ["warranty.md"]}
ASKED = FOUND | {"id": "a", "answers": ["26 months"]}
HISTORY = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]


class Quiet:
    """Hears, and says nothing."""

    def begin(self, missing: int, kept: int) -> None:
        """So many."""

    def advance(self, arm: str, error: str | None) -> None:
        """One."""


@pytest.fixture
async def url(make_parts: Make, serve: Serve, settings: Settings, base: BaseModelInfo) -> AsyncIterator[str]:
    """A service over an engine process."""
    limits = settings.model_copy(update={"threads": 1, "kv_tokens": 16384, "max_model_len": 1024, "deadline": 60.0})
    engine = await EngineClient.start(limits, base.folder)
    parts: Parts = make_parts(engine, deadline=60.0)
    async with serve(parts) as at:
        yield at
    await engine.close()


async def test_every_kind_of_task_is_had_of_a_real_service(tmp_path: Path, url: str, tokenizer: Tokenizer) -> None:
    files = {"choices": [CHOICE], "found": [FOUND], "asked": [ASKED, ASKED | {"id": "h", "history": HISTORY}]}
    for name, examples in files.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, examples)))
    arms = "".join(
        f'[[arms]]\nmode = "{mode}"\n' + (f'tasks = ["{task}"]\n' if task else "") for mode, task in ARMS.items()
    )
    (tmp_path / "suite.toml").write_text(SUITE + arms)
    planned = plan(read_suite(tmp_path / "suite.toml"))
    done = await run_suite(planned, Target(url, near=True), tmp_path / "out", Quiet())
    run = read_run(tmp_path / "out")
    assert done.asked == len(run.items) == 1 + 4 + 2 + 1
    assert [item.error for item in run.items if item.error] == []
    assert len({item.place for item in run.items}) == len(run.items)
    assert list(run.header.indexed) == ["my-lora+rag", "prompt:brief+rag"]
    assert run.header.trained.keys() == {"my-lora+rag", "my-soft"}
    by_task = {task: [item for item in run.items if item.task == task] for task in ("choosing", "retrieving", "asking")}
    assert by_task["retrieving"][0].scores == {"recall": 1, "mrr": 1}
    assert all({"containment", "recall"} <= item.scores.keys() for item in by_task["asking"])
    _check_likelihoods(by_task["choosing"][0], tokenizer)


def _check_likelihoods(item: Item, tokenizer: Tokenizer) -> None:
    """Against the model itself, on the prompt as it is rendered."""
    prompt = render([Message(role="user", content="Why?")], [], Template(), tokenizer).token_ids
    assert item.reply is not None
    for likelihood in item.reply.likelihoods:
        own = tokenizer.encode_answer(likelihood.text)[:-1]
        with torch.no_grad():
            logits = tiny_model()(torch.tensor([[*prompt, *own]])).logits[0].log_softmax(-1)
        wanted = sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(own))
        assert (likelihood.logprob, likelihood.tokens) == (pytest.approx(wanted, abs=1e-3), len(own))
