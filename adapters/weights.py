"""Load an adapter's tensors for the engine: LoRA pairs, soft prompts and prefixes, as PEFT would apply them.

All tensors come in fp32 on the CPU, whatever type they are stored in; PEFT computes with them so. Whether an adapter
fits a base model was checked when it was registered (`adapters.inspection`); what is checked here is that the folder
is whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig

from adapters.lora import pair_up
from adapters.peft_config import LoraSettings, read_config
from adapters.prompts import EMBEDDINGS, PrefixShape, check_prompt
from adapters.stored_tensors import weights_path
from ragtune.errors import RefusedArtifact


@dataclass(frozen=True)
class LoraPair:
    """The change of one linear layer: y += (x @ a.T) @ b.T * scale, with a (r, in) and b (out, r)."""

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class LoraWeights:
    """A LoRA: the pair of each module it changes, by the module's full name in the base model."""

    modules: Mapping[str, LoraPair]


def load_lora(folder: Path) -> LoraWeights:
    """The LoRA in a PEFT folder. Raises RefusedArtifact."""
    settings = read_config(folder).settings
    if not isinstance(settings, LoraSettings):
        raise RefusedArtifact(f"{folder} holds no LoRA")
    tensors = _load(folder)
    pairs = pair_up({name: tuple(tensor.shape) for name, tensor in tensors.items()}, settings)
    return LoraWeights(
        {module: LoraPair(tensors[pair.a], tensors[pair.b], settings.scale(module)) for module, pair in pairs.items()}
    )


def load_soft_prompt(folder: Path) -> Tensor:
    """The embeddings (virtual tokens, hidden) of prompt tuning or P-tuning. Raises RefusedArtifact."""
    return _load_embeddings(folder)


def load_prefix(folder: Path, config: PreTrainedConfig) -> Tensor:
    """Keys (0) and values (1) of prefix tuning: (layers, 2, virtual tokens, kv heads, head dim).

    The keys are as they stand in a KV cache: no rotation is applied to them. Raises RefusedArtifact.
    """
    shape = PrefixShape.of(config)
    flat = _load_embeddings(folder, shape.width)
    return flat.view(-1, shape.layers, 2, shape.heads, shape.head_dim).permute(1, 2, 0, 3, 4).contiguous()


def _load_embeddings(folder: Path, width: int | None = None) -> Tensor:
    config = read_config(folder)
    tensors = _load(folder)
    check_prompt({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config, width)
    return tensors[EMBEDDINGS]


def _load(folder: Path) -> dict[str, Tensor]:
    try:
        return {name: tensor.float() for name, tensor in load_file(weights_path(folder)).items()}
    except SafetensorError as error:
        raise RefusedArtifact(f"the weights in {folder} cannot be read: {error}") from error
