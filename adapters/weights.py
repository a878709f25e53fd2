"""Load an adapter's tensors for the engine, as PEFT and transformers would apply them.

All tensors come in fp32 on the CPU, whatever type they are stored in; PEFT computes with them so. Only those of a lane
come as they are stored, for they are large: whoever uses one makes it fp32. Whether an adapter
fits a base model was checked when it was registered (`adapters.inspection`); what is checked here is that the folder
is whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig

from adapters.lane_file import LANE_FILE, read_lane
from adapters.lora import PairKeys, sort_keys
from adapters.peft_config import LoraSettings, read_config
from adapters.prompts import EMBEDDINGS, PrefixShape, check_prompt
from adapters.stored_tensors import weights_path
from ragtune.errors import RefusedArtifact


@dataclass(frozen=True)
class LoraPair:
    """The change of one linear layer: y += (x @ a.T) @ b.T * scale, with a (r, in) and b (out, r).

    Of the embeddings: a (r, vocabulary), b (hidden, r), and y += a.T[token] @ b.T * scale.
    """

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class WeightChanges:
    """What a weight adapter changes of the base model. Modules and parameters go by their full names in it."""

    pairs: Mapping[str, LoraPair] = field(default_factory=dict)
    embedding: LoraPair | None = None
    added_biases: Mapping[str, Tensor] = field(default_factory=dict)  # by module, scale included
    replaced: Mapping[str, Tensor] = field(default_factory=dict)  # by parameter


def load_changes(folder: Path) -> WeightChanges:
    """The weight adapter in a folder of the store: a lane of whole tensors, or a LoRA. Raises RefusedArtifact."""
    if (folder / LANE_FILE).is_file():
        return WeightChanges(replaced=read_lane(folder))
    return load_lora(folder)


def load_lora(folder: Path) -> WeightChanges:
    """The LoRA in a PEFT folder. Raises RefusedArtifact."""
    settings = read_config(folder).settings
    if not isinstance(settings, LoraSettings):
        raise RefusedArtifact(f"{folder} holds no LoRA")
    tensors = _load(folder)
    keys = sort_keys({name: tuple(tensor.shape) for name, tensor in tensors.items()}, settings)

    def pair(module: str, names: PairKeys) -> LoraPair:
        return LoraPair(tensors[names.a], tensors[names.b], settings.scale(module))

    return WeightChanges(
        pairs={module: pair(module, names) for module, names in keys.pairs.items()},
        embedding=pair("model.embed_tokens", keys.embedding) if keys.embedding else None,
        added_biases={module: tensors[key] * settings.scale(module) for module, key in keys.added_biases.items()},
        replaced={parameter: tensors[key] for parameter, key in keys.replaced.items()},
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
