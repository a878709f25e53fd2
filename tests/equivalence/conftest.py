"""Engines and references that the equivalence proofs share: every family, and, marked slow, the embedded SmolLM2."""

import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from adapters.base_model import locate_base_model
from adapters.tokenizer import load_tokenizer
from ragtune.demo.company import write_company
from ragtune.settings import Settings
from tests.equivalence.harness import ADAPTERS, Reference, Rig, Setup, make_adapter
from tests.tiny import FAMILIES, tiny_model

SMOLLM2 = "smollm2"
SCALES = {"encoded": 0.15}  # P-tuning's encoder then gives embeddings as large as a token's, as training leaves them


@pytest.fixture(scope="module", params=[*FAMILIES, pytest.param(SMOLLM2, marks=pytest.mark.slow)])
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """One family's engine with all adapters registered, and its reference."""
    family = request.param
    folder = tmp_path_factory.mktemp(family)
    if family == SMOLLM2:
        text = company_text()
        refs = {
            name: make_adapter(embedded_model(), name, folder / name, SCALES.get(name, 0.02), text) for name in ADAPTERS
        }
        exact = Reference(lambda: embedded_model().double(), refs)
        return Rig(embedded_model(), refs, text=text), Reference(embedded_model, refs, exact)
    fresh = partial(tiny_model, family)
    refs = {name: make_adapter(fresh(), name, folder / name) for name in ADAPTERS}
    return Rig(fresh(), refs), Reference(fresh, refs)


def embedded_model() -> PreTrainedModel:
    """SmolLM2 in fp32, eager attention; converted from the user's cache or into it."""
    folder = locate_base_model(Settings.load({})).folder
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def company_text() -> list[int]:
    """Documents of the demo's company as tokens: on noise a trained model's logits are ill-conditioned, on text not."""
    with tempfile.TemporaryDirectory() as folder:
        documents = [path.read_text() for path in sorted(write_company(Path(folder)).docs.rglob("*.md"))[:40]]
    return load_tokenizer(locate_base_model(Settings.load({})).folder).encode("\n\n".join(documents))[0]
