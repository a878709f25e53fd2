"""Which tensors of a LoRA file belong to which linear layer, and whether they fit.

PEFT names them `base_model.model.MODULE.lora_A.weight` (r, in) and `...lora_B.weight` (out, r), where MODULE is the
layer's name in the base model. Works on names and shapes alone, so the check at registration and the loading in the
engine share it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.peft_config import LoraSettings
from adapters.stored_tensors import WEIGHTS_FILE
from ragtune.errors import RefusedArtifact

Shape = tuple[int, ...]
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_DECODER = "model.layers."
_UNCONSUMED = (
    (".lora_embedding_", "LoRA on the embeddings is not supported; leave embed_tokens out of target_modules"),
    ("embed_tokens.weight", "it carries token embeddings, as after extending the vocabulary; that is not supported"),
    ("lm_head.weight", "it carries an output head, as after extending the vocabulary; that is not supported"),
    (".lora_magnitude_vector", "DoRA is not supported"),
)


@dataclass(frozen=True)
class PairKeys:
    """The names of one layer's two tensors in the file."""

    a: str
    b: str


def pair_up(shapes: Mapping[str, Shape], settings: LoraSettings) -> dict[str, PairKeys]:
    """The tensor names of each module. Raises RefusedArtifact for a tensor that is left over, missing or misshapen."""
    sides: dict[str, dict[str, str]] = {}
    for key in shapes:
        match = _KEY.fullmatch(key)
        if match is None:
            raise RefusedArtifact(f"{WEIGHTS_FILE}: {key}: {_why_left_over(key)}")
        sides.setdefault(match["module"], {})[match["side"]] = key
    if not sides:
        raise RefusedArtifact(f"{WEIGHTS_FILE} holds no tensors")
    for module, found in sides.items():
        if len(found) < 2:
            raise RefusedArtifact(f"{WEIGHTS_FILE}: {module} has lora_{next(iter(found))} but not the other half")
    pairs = {module: PairKeys(found["A"], found["B"]) for module, found in sides.items()}
    for module, pair in pairs.items():
        _check_rank(module, shapes[pair.a], shapes[pair.b], settings.rank(module))
    return pairs


def check_fit(
    pairs: Mapping[str, PairKeys],
    shapes: Mapping[str, Shape],
    settings: LoraSettings,
    base: Mapping[str, tuple[int, int]],
) -> None:
    """Raises RefusedArtifact unless every pair fits its layer of `base` ((out, in) by module) and none is missing."""
    for module, pair in pairs.items():
        if not module.startswith(_DECODER):
            raise RefusedArtifact(f"it changes {module}; only the linear layers inside {_DECODER}* can be adapted here")
        if module not in base:
            raise RefusedArtifact(f"it changes {module}, which this base model does not have")
        wanted = (shapes[pair.b][0], shapes[pair.a][1])
        if wanted != base[module]:
            raise RefusedArtifact(
                f"{module}: the adapter is for a layer of {wanted[1]} inputs and {wanted[0]} outputs, "
                f"this base model's has {base[module][1]} and {base[module][0]}"
            )
    missing = [module for module in base if module not in pairs and _is_targeted(module, settings)]
    if missing:
        raise RefusedArtifact(
            f"{WEIGHTS_FILE} is incomplete: {len(missing)} layers that target_modules names have no weights, "
            f"such as {missing[0]}"
        )


def _check_rank(module: str, a: Shape, b: Shape, rank: int) -> None:
    if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
        raise RefusedArtifact(f"{module}: lora_A {a} and lora_B {b} do not multiply; expected (r, in) and (out, r)")
    if a[0] != rank:
        raise RefusedArtifact(f"{module}: the weights are of rank {a[0]}, adapter_config.json says {rank}")


def _is_targeted(module: str, settings: LoraSettings) -> bool:
    """Whether the config certainly means this layer; where it selects by pattern or layer number, the file decides."""
    if settings.exclude_modules or settings.layers_to_transform is not None or not module.startswith(_DECODER):
        return False
    targets = settings.target_modules
    if isinstance(targets, str):
        return targets.lower() == "all-linear"
    return any(module == target or module.endswith(f".{target}") for target in targets or ())


def _why_left_over(key: str) -> str:
    for part, reason in _UNCONSUMED:
        if part in key:
            return reason
    return "no part of an ordinary LoRA; such a tensor would be ignored, so the adapter is refused"
