"""What a trial answers is what plain PEFT and transformers generate, whatever the kind of the adapter."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adapters.base_model import BaseModelInfo, describe
from adapters.manifest import AdapterManifest
from adapters.preparing import Preparing
from ragtune.errors import RefusedArtifact
from ragtune.settings import Settings
from service.trial import NEW_TOKENS, answer
from tests.equivalence.harness import make_adapter, make_checkpoint
from tests.tiny import save_tiny, tiny_model

PROMPTS = [list(range(3, 40)), [7, 9, 200], [*range(100, 160)]]
KINDS = {"plain": "lora", "dora": "merged", "ia3": "merged", "soft": "soft_prompt", "prefix": "prefix"}
Made = tuple[BaseModelInfo, Path, Path, AdapterManifest]


def settings(base: BaseModelInfo) -> Settings:
    return Settings(base_model=str(base.folder), training_threads=1)


def made(folder: Path, name: str) -> Made:
    """An adapter as a training leaves it, and staged as it would be published."""
    base = describe(save_tiny(folder / "tiny"), folder / "cache", "tiny")
    make = make_checkpoint if name in ("partial", "full") else make_adapter
    source, staged = make(tiny_model(), name, folder / name), folder / "staged"
    staged.mkdir()
    return base, source, staged, Preparing(base).prepare(source.resolve(), staged)


def greedy(base: BaseModelInfo, source: Path, kind: str, prompt: list[int]) -> list[int]:
    """As anyone else would have it continued."""
    if kind == "checkpoint":
        model = AutoModelForCausalLM.from_pretrained(source, attn_implementation="eager")
    else:
        plain = AutoModelForCausalLM.from_pretrained(base.folder, attn_implementation="eager")
        model = PeftModel.from_pretrained(plain, str(source))
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            tokens.append(int(model.eval()(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize(
    ("name", "kind"),
    [*KINDS.items(), ("partial", "checkpoint"), ("full", "checkpoint")],
    ids=[*KINDS, "partial", "full"],
)
def test_a_trial_answers_as_peft_and_transformers_do(tmp_path: Path, name: str, kind: str) -> None:
    base, source, staged, manifest = made(tmp_path, name)
    assert manifest.kind == kind
    answers = answer(settings(base), base, staged, manifest, PROMPTS)
    assert answers == [greedy(base, source, kind, prompt) for prompt in PROMPTS]


def test_a_trial_of_what_is_not_what_was_checked_is_refused(tmp_path: Path) -> None:
    base, _, staged, manifest = made(tmp_path, "plain")
    weights = staged / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RefusedArtifact, match="the engine cannot serve what was trained"):
        answer(settings(base), base, staged, manifest, PROMPTS)


def test_a_trial_leaves_the_number_of_threads_as_it_was_bounded(tmp_path: Path) -> None:
    base, _, staged, manifest = made(tmp_path, "plain")
    answer(settings(base), base, staged, manifest, PROMPTS[:1])
    assert torch.get_num_threads() == 1
