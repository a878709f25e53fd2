"""The one tensor of a soft prompt or prefix, and the shape it must have.

PEFT saves `prompt_embeddings`: (virtual tokens, hidden) for prompt tuning and P-tuning, whose encoder is baked in, and
(virtual tokens, layers * 2 * kv heads * head dim) for prefix tuning, whose projection is baked in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PreTrainedConfig

from adapters.peft_config import PeftConfig, PromptSettings
from adapters.stored_tensors import WEIGHTS_FILE
from ragtune.errors import RefusedArtifact

EMBEDDINGS = "prompt_embeddings"


@dataclass(frozen=True)
class PrefixShape:
    """What a model's KV cache holds for one token."""

    layers: int
    heads: int
    head_dim: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "PrefixShape":
        """Read from a model's config."""
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(int(config.num_hidden_layers), int(config.num_key_value_heads), int(head_dim))

    @property
    def width(self) -> int:
        """Numbers for one token: keys and values of all layers."""
        return self.layers * 2 * self.heads * self.head_dim


def expected_width(peft_type: str, config: PreTrainedConfig) -> int:
    """Numbers a virtual token takes with this base model."""
    return PrefixShape.of(config).width if peft_type == "PREFIX_TUNING" else int(config.hidden_size)


def check_prompt(shapes: Mapping[str, tuple[int, ...]], config: PeftConfig, width: int | None) -> int:
    """The number of virtual tokens. Raises RefusedArtifact unless the file holds just them, each `width` numbers wide.

    `width` None leaves the width unchecked.
    """
    settings = config.settings
    if not isinstance(settings, PromptSettings):
        raise RefusedArtifact(f"a {config.peft_type} adapter is no soft prompt")
    if set(shapes) != {EMBEDDINGS}:
        raise RefusedArtifact(f"{WEIGHTS_FILE} holds {_listed(shapes)}; expected just {EMBEDDINGS}")
    shape = shapes[EMBEDDINGS]
    if len(shape) != 2 or shape[0] != settings.num_virtual_tokens:
        raise RefusedArtifact(
            f"{EMBEDDINGS} has shape {shape}; adapter_config.json promises {settings.num_virtual_tokens} virtual tokens"
        )
    if width is not None and shape[1] != width:
        raise RefusedArtifact(
            f"each virtual token is {shape[1]} numbers wide, this base model needs {width}: "
            "it was made for another base model"
        )
    return shape[0]


def _listed(names: Mapping[str, tuple[int, ...]]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (" ..." if len(names) > 3 else "") if shown else "nothing"
