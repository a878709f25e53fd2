"""Engines and references that the equivalence proofs share: every family, and, marked slow, the embedded SmolLM2."""

import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from adapters.base_model import describe, locate_base_model
from adapters.preparing import Preparing
from adapters.tokenizer import load_tokenizer
from ragtune.demo.company import write_company
from ragtune.settings import Settings
from tests.equivalence.harness import (
    ADAPTERS,
    CHECKPOINTS,
    Reference,
    Rig,
    Setup,
    make_adapter,
    make_checkpoint,
    register,
)
from tests.tiny import FAMILIES, save_tiny, tiny_model

SMOLLM2 = "smollm2"
SCALES = {"encoded": 0.15}  # P-tuning's encoder then gives embeddings as large as a token's, as training leaves them


@pytest.fixture(scope="module", params=[*FAMILIES, pytest.param(SMOLLM2, marks=pytest.mark.slow)])
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """One family's engine with all adapters registered, and its reference."""
    family = request.param
    folder = tmp_path_factory.mktemp(family)
    if family == SMOLLM2:
        base = locate_base_model(Settings.load({}))
        fresh, text, scales = embedded_model, company_text(), defaultdict(lambda: 0.02, SCALES)
    else:
        base = describe(save_tiny(folder / "base", family), folder / "cache", family)
        fresh, text, scales = partial(tiny_model, family), None, defaultdict(lambda: 0.1)
    made = folder / "made"
    sources = {name: make_adapter(fresh(), name, made / name, scales[name], text) for name in ADAPTERS}
    sources |= {name: make_checkpoint(fresh(), name, made / name, scales[name]) for name in CHECKPOINTS}
    preparing = Preparing(base)
    refs = {name: register(preparing, name, source, folder / "store" / name) for name, source in sources.items()}
    exact = Reference(lambda: fresh().double(), refs, sources) if family == SMOLLM2 else None
    return Rig(fresh(), refs, text=text), Reference(fresh, refs, sources, exact)


def embedded_model() -> PreTrainedModel:
    """SmolLM2 in fp32, eager attention; converted from the user's cache or into it."""
    folder = locate_base_model(Settings.load({})).folder
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def company_text() -> list[int]:
    """Documents of the demo's company as tokens: on noise a trained model's logits are ill-conditioned, on text not."""
    with tempfile.TemporaryDirectory() as folder:
        documents = [path.read_text() for path in sorted(write_company(Path(folder)).docs.rglob("*.md"))[:40]]
    return load_tokenizer(locate_base_model(Settings.load({})).folder).encode("\n\n".join(documents))[0]
