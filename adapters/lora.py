"""Which tensors of a LoRA file change what, and whether they fit.

PEFT names them after the module they belong to in the base model, behind `base_model.model.`:

    MODULE.lora_A.weight (r, in), MODULE.lora_B.weight (out, r)                  a low-rank change of a linear layer
    MODULE.lora_B.bias (out,)                                                    with `lora_bias`, added to its output
    MODULE.lora_embedding_A (r, vocabulary), MODULE.lora_embedding_B (hidden, r) a low-rank change of the embeddings
    MODULE.weight, MODULE.bias, MODULE.base_layer.weight, MODULE.base_layer.bias a tensor in place of the base model's

Works on names and shapes alone, so the check at registration and the loading in the engine share it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from adapters.peft_config import LoraSettings
from adapters.stored_tensors import WEIGHTS_FILE
from ragtune.errors import RefusedArtifact

Shape = tuple[int, ...]
EMBEDDING = "model.embed_tokens"
HEAD = "lm_head"
_PREFIX = "base_model.model."
_SIDE = re.compile(r"(?P<module>.+)\.lora_(?P<side>A|B|embedding_A|embedding_B)(\.weight)?")
_ADDED_BIAS = ".lora_B.bias"
_DECODER = "model.layers."
_BESIDE = (f"{EMBEDDING}.base_layer.weight", f"{HEAD}.base_layer.weight")  # the base model's own; the proof compares


@dataclass(frozen=True)
class PairKeys:
    """The names of one layer's two tensors in the file."""

    a: str
    b: str


@dataclass(frozen=True)
class LoraKeys:
    """The names in the file, by what they change: pairs and added biases by module, replacements by parameter name."""

    pairs: dict[str, PairKeys] = field(default_factory=dict)
    embedding: PairKeys | None = None
    added_biases: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)


def sort_keys(shapes: Mapping[str, Shape], settings: LoraSettings) -> LoraKeys:
    """What each tensor of the file is. Raises RefusedArtifact for a tensor left over, missing or misshapen."""
    sides: dict[str, dict[str, str]] = {}
    keys = LoraKeys()
    for key in shapes:
        name = key.removeprefix(_PREFIX)
        if name == key:
            raise _left_over(key)
        if name.endswith(_ADDED_BIAS) and settings.lora_bias:
            keys.added_biases[name.removesuffix(_ADDED_BIAS)] = key
        elif match := _SIDE.fullmatch(name):
            sides.setdefault(match["module"], {})[match["side"].removeprefix("embedding_")] = key
        elif name not in _BESIDE:
            keys.replaced[_parameter(key, name, settings)] = key
    if not sides:
        raise RefusedArtifact(f"{WEIGHTS_FILE} holds no tensors{' of a LoRA' if shapes else ''}")
    for module, found in sides.items():
        if len(found) < 2:
            raise RefusedArtifact(f"{WEIGHTS_FILE}: {module} has lora_{next(iter(found))} but not the other half")
        keys.pairs[module] = PairKeys(found["A"], found["B"])
        _check_rank(module, shapes[found["A"]], shapes[found["B"]], settings.rank(module))
    embedding = keys.pairs.pop(EMBEDDING, None)
    return LoraKeys(keys.pairs, embedding, keys.added_biases, keys.replaced)


def check_fit(keys: LoraKeys, shapes: Mapping[str, Shape], settings: LoraSettings, base: Mapping[str, Shape]) -> None:
    """Raises RefusedArtifact unless all of `keys` fits `base`, the shapes of its parameters by name, with none missing.

    A parameter in place of the base model's must be one that the config says was trained.
    """
    for module, pair in keys.pairs.items():
        _check_layer(module, (shapes[pair.b][0], shapes[pair.a][1]), shapes[pair.a][0], base)
    if keys.embedding is not None:
        _check_embedding(shapes[keys.embedding.a], shapes[keys.embedding.b], base)
    for module, key in keys.added_biases.items():
        if module not in keys.pairs or shapes[key] != (shapes[keys.pairs[module].b][0],):
            raise RefusedArtifact(f"{WEIGHTS_FILE}: {key} has shape {shapes[key]}, and is no bias of its layer")
    for name, key in keys.replaced.items():
        check_replacement(name, shapes[key], base)
    missing = [module for module in _layers(base) if module not in keys.pairs and _is_targeted(module, settings)]
    if missing:
        raise RefusedArtifact(
            f"{WEIGHTS_FILE} is incomplete: {len(missing)} layers that target_modules names have no weights, "
            f"such as {missing[0]}"
        )


def check_replacement(name: str, shape: Shape, base: Mapping[str, Shape]) -> None:
    """Raises RefusedArtifact unless a tensor of `shape` can stand in place of the base model's parameter `name`."""
    if name not in base:
        raise RefusedArtifact(f"it carries {name}, which this base model does not have")
    if shape == base[name]:
        return
    if name in (f"{EMBEDDING}.weight", f"{HEAD}.weight") and shape[1:] == base[name][1:]:
        raise RefusedArtifact(
            f"{name} has {shape[0]} rows, this base model's has {base[name][0]}: its vocabulary was extended, and the "
            "tokenizer served here does not have those tokens; train without adding tokens"
        )
    raise RefusedArtifact(f"{name} has shape {shape}, this base model's is {base[name]}")


def _check_layer(module: str, wanted: tuple[int, int], rank: int, base: Mapping[str, Shape]) -> None:
    if not module.startswith(_DECODER):
        raise RefusedArtifact(
            f"it changes {module} by a low rank; that can be served for the linear layers inside {_DECODER}* and for "
            f"{EMBEDDING}: leave {module} out of target_modules, or train it whole with modules_to_save"
        )
    there = base.get(f"{module}.weight")
    if there is None:
        raise RefusedArtifact(f"it changes {module}, which this base model does not have")
    if wanted != there:
        raise RefusedArtifact(
            f"{module}: the adapter is for a layer of {wanted[1]} inputs and {wanted[0]} outputs, "
            f"this base model's has {there[1]} and {there[0]}"
        )
    if rank > max(there):
        raise RefusedArtifact(
            f"{module}: rank {rank} is larger than the layer itself ({there[1]} inputs, {there[0]} outputs); "
            "a full fine-tune of that layer would be smaller"
        )


def _check_embedding(a: Shape, b: Shape, base: Mapping[str, Shape]) -> None:
    there = base[f"{EMBEDDING}.weight"]
    if (a[1], b[0]) != there:
        raise RefusedArtifact(
            f"{EMBEDDING}: the adapter is for {a[1]} tokens of {b[0]} numbers each, this base model has "
            f"{there[0]} of {there[1]}"
        )
    if a[0] > max(there):
        raise RefusedArtifact(f"{EMBEDDING}: rank {a[0]} is larger than the embeddings themselves")


def _check_rank(module: str, a: Shape, b: Shape, rank: int) -> None:
    if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
        raise RefusedArtifact(f"{module}: lora_A {a} and lora_B {b} do not multiply; expected (r, in) and (out, r)")
    if a[0] != rank:
        raise RefusedArtifact(f"{module}: the weights are of rank {a[0]}, adapter_config.json says {rank}")


def _layers(base: Mapping[str, Shape]) -> list[str]:
    """The linear layers: every matrix by its module."""
    return [
        name.removesuffix(".weight") for name, shape in base.items() if name.endswith(".weight") and len(shape) == 2
    ]


def _is_targeted(module: str, settings: LoraSettings) -> bool:
    """Whether the config certainly means this layer; where it selects by pattern or layer number, the file decides."""
    if settings.exclude_modules or settings.layers_to_transform is not None or not module.startswith(_DECODER):
        return False
    targets = settings.target_modules
    if isinstance(targets, str):
        return targets.lower() == "all-linear"
    return any(module == target or module.endswith(f".{target}") for target in targets or ())


def _parameter(key: str, name: str, settings: LoraSettings) -> str:
    """The base model's parameter that `name` stands in place of. Raises RefusedArtifact if none such was trained."""
    parameter = name.replace(".base_layer.", ".")
    module, _, last = parameter.rpartition(".")
    saved = module.endswith(tuple(settings.modules_to_save))  # PEFT asks for no dot before it: `norm` is every norm
    tied = settings.ensure_weight_tying and module in (EMBEDDING, HEAD)  # whichever is named, both are saved
    if saved or tied or (last == "bias" and settings.bias != "none"):
        return parameter
    raise _left_over(key)


def _left_over(key: str) -> RefusedArtifact:
    what = "no part of the adapter that adapter_config.json describes"
    if key.endswith((f"{EMBEDDING}.weight", f"{HEAD}.weight")):
        what = "token embeddings or an output head, and adapter_config.json does not name them in modules_to_save"
    return RefusedArtifact(f"{WEIGHTS_FILE}: {key}: {what}; such a tensor would be ignored, so the adapter is refused")
