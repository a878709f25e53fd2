"""What we read from a PEFT folder is what PEFT itself computes with, on tiny models of several families."""

from pathlib import Path

import pytest
import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import nn

from adapters.base_model import describe
from adapters.inspection import inspect
from adapters.weights import load_lora, load_prefix, load_soft_prompt
from tests.tiny import FAMILIES, save_tiny, tiny_model

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def save_adapter(config: PeftConfig, folder: Path, family: str = "llama") -> Path:
    """A PEFT adapter with random weights everywhere, saved as PEFT saves it."""
    model = get_peft_model(tiny_model(family), config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.0, 0.3, generator=generator)
    model.save_pretrained(folder)
    return folder


def load_with_peft(folder: Path, family: str = "llama") -> PeftModel:
    return PeftModel.from_pretrained(tiny_model(family), folder).eval()


def peft_deltas(model: PeftModel) -> dict[str, torch.Tensor]:
    """The (out, in) change of every layer as PEFT would merge it, by the layer's name in the base model."""
    return {
        name.removeprefix("base_model.model."): layer.get_delta_weight("default")
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }


def assert_same_deltas(folder: Path, family: str = "llama") -> None:
    expected = peft_deltas(load_with_peft(folder, family))
    ours = load_lora(folder).pairs
    assert ours.keys() == expected.keys()
    for module, pair in ours.items():
        assert expected[module].abs().max() > 0
        torch.testing.assert_close(pair.b @ pair.a * pair.scale, expected[module], rtol=0, atol=1e-6)


LORAS = {
    "plain": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "all-linear": LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", lora_dropout=0.1),
    "rslora": LoraConfig(r=4, lora_alpha=8, target_modules=ALL, use_rslora=True),
    "patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=ALL,
        rank_pattern={"q_proj": 2, "layers.1.mlp.down_proj": 6},
        alpha_pattern={"layers.1.mlp.down_proj": 3, "v_proj": 32},
    ),
    "anchored and expression patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=ALL,
        use_rslora=True,
        rank_pattern={"^model.layers.0.self_attn.q_proj": 2, r"layers\.[12]\..*_proj": 3, "proj": 5},
        alpha_pattern={r"model.layers.\d.mlp.(gate|up)_proj": 5, "_proj": 7},
    ),
    "some layers": LoraConfig(r=4, target_modules=["q_proj"], layers_to_transform=[1, 3]),
    "excluding": LoraConfig(r=4, target_modules=ALL, exclude_modules=["model.layers.0.self_attn.q_proj"]),
    "by expression": LoraConfig(r=4, target_modules=r".*layers\.[02]\.mlp\.\w+_proj"),
}


@pytest.mark.parametrize("name", LORAS)
def test_lora_deltas_are_pefts(name: str, tmp_path: Path) -> None:
    folder = save_adapter(LORAS[name], tmp_path / "adapter")
    assert_same_deltas(folder)
    assert inspect(folder, describe(save_tiny(tmp_path / "base"), tmp_path, "tiny")).kind == "lora"


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_modules_are_named_as_in_every_family(family: str, tmp_path: Path) -> None:
    folder = save_adapter(LoraConfig(r=2, target_modules="all-linear"), tmp_path / "adapter", family)
    assert_same_deltas(folder, family)
    linear = {name for name, module in tiny_model(family).named_modules() if isinstance(module, nn.Linear)}
    assert load_lora(folder).pairs.keys() == linear - {"lm_head"}
    base = describe(save_tiny(tmp_path / "base", family), tmp_path, "tiny")
    assert inspect(folder, base).target_modules == tuple(sorted(ALL))


def test_a_bfloat16_lora_is_read_as_peft_reads_it(tmp_path: Path) -> None:
    folder = save_adapter(LORAS["plain"], tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(weights).items()}, weights)
    assert_same_deltas(folder)
    assert inspect(folder, describe(save_tiny(tmp_path / "base"), tmp_path, "tiny")).ranks == (4,)


SOFT_PROMPTS = {
    "prompt tuning": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "p-tuning with mlp": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=5, encoder_hidden_size=16),
    "p-tuning with lstm": PromptEncoderConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=5,
        encoder_hidden_size=16,
        encoder_reparameterization_type="LSTM",
    ),
}


@pytest.mark.parametrize("name", SOFT_PROMPTS)
def test_soft_prompts_are_pefts(name: str, tmp_path: Path) -> None:
    folder = save_adapter(SOFT_PROMPTS[name], tmp_path / "adapter")
    expected = load_with_peft(folder).get_prompt(batch_size=1)[0]
    torch.testing.assert_close(load_soft_prompt(folder), expected, rtol=0, atol=0)
    manifest = inspect(folder, describe(save_tiny(tmp_path / "base"), tmp_path, "tiny"))
    assert (manifest.kind, manifest.virtual_tokens, manifest.parameters) == ("soft_prompt", 5, 5 * 48)


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_prefixes_fill_the_cache_as_pefts_do(family: str, projection: bool, tmp_path: Path) -> None:
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=5, prefix_projection=projection, encoder_hidden_size=16
    )
    folder = save_adapter(config, tmp_path / "adapter", family)
    model = load_with_peft(folder, family)
    cache = model.get_prompt(batch_size=1)
    ours = load_prefix(folder, model.get_base_model().config)
    assert ours.shape == (4, 2, 5, 2, 12)
    for layer, (keys, values) in enumerate(zip(ours[:, 0], ours[:, 1], strict=True)):
        torch.testing.assert_close(keys, cache.layers[layer].keys[0].transpose(0, 1), rtol=0, atol=0)
        torch.testing.assert_close(values, cache.layers[layer].values[0].transpose(0, 1), rtol=0, atol=0)
    manifest = inspect(folder, describe(save_tiny(tmp_path / "base", family), tmp_path, "tiny"))
    assert (manifest.kind, manifest.virtual_tokens) == ("prefix", 5)
