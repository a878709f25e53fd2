"""Full and partial fine-tuning: the model's own tensors learn, and a model folder is saved."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from adapters.base_model import BaseModelInfo
from adapters.lora import EMBEDDING, HEAD
from adapters.packed_linear import pack_frozen
from adapters.recipe import Recipe
from adapters.techniques.loading import load_base, load_model
from adapters.techniques.trainee import Model, Trainee
from ragtune.errors import RefusedArtifact

_ENDS = (f"{EMBEDDING}.weight", f"{HEAD}.weight")


@dataclass(frozen=True)
class ModelFolder:
    """`config.json`, `generation_config.json` and all weights, as transformers reads them."""

    base: BaseModelInfo
    device: str
    quantised: bool = False

    def save(self, model: Model, folder: Path) -> None:
        """Whole, the frozen tensors included."""
        model.save_pretrained(str(folder))

    def reload(self, folder: Path) -> PreTrainedModel:
        """By plain transformers."""
        return load_model(folder, self.device)

    def plain(self, folder: Path) -> PreTrainedModel:
        """The same."""
        return self.reload(folder)


def begin(recipe: Recipe, base: BaseModelInfo, device: str) -> Trainee:
    """Raises RefusedArtifact if a pattern matches nothing, or for more layers than there are."""
    model = load_base(base, packed=False, device=device)
    parameters = dict(model.named_parameters())
    chosen = parameters if recipe.method == "full" else _chosen(recipe, parameters, base)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    pack_frozen(model)
    torch.manual_seed(recipe.seed)
    return Trainee(model, base, ModelFolder(base, device), _description(recipe, chosen, parameters, base))


def _chosen(recipe: Recipe, parameters: Mapping[str, nn.Parameter], base: BaseModelInfo) -> dict[str, nn.Parameter]:
    """The parameters of the last layers or of the patterns, and embeddings and head where the recipe says so."""
    options = recipe.partial
    inner = [name for name in parameters if name not in _ENDS]
    depth = int(base.config.num_hidden_layers)
    if options.layers is not None and options.layers > depth:
        raise RefusedArtifact(
            f"recipe {recipe.name}: partial.layers is {options.layers}; this model has {depth} layers"
        )
    patterns = options.patterns or tuple(f"model.layers.{n}.*" for n in range(depth - (options.layers or 0), depth))
    chosen = {name for pattern in patterns for name in _matching(pattern, inner, recipe)}
    embeddings, head = _ENDS
    if options.embeddings or (options.head and base.tied):
        chosen.add(embeddings)
    if options.head and not base.tied:
        chosen.add(head)
    return {name: parameter for name, parameter in parameters.items() if name in chosen}


def _matching(pattern: str, names: list[str], recipe: Recipe) -> list[str]:
    found = [name for name in names if fnmatchcase(name, pattern)]
    if found:
        return found
    if any(fnmatchcase(name, pattern) for name in _ENDS):
        raise RefusedArtifact(
            f"recipe {recipe.name}: partial.patterns {pattern!r} matches embeddings or head only; they are trained by "
            "partial.embeddings = true and partial.head = true"
        )
    kinds = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in names})
    raise RefusedArtifact(
        f"recipe {recipe.name}: partial.patterns {pattern!r} matches no parameter of this model; there are "
        + ", ".join(kinds)
    )


def _description(
    recipe: Recipe, chosen: Mapping[str, nn.Parameter], parameters: Mapping[str, nn.Parameter], base: BaseModelInfo
) -> str:
    layers = {name.split(".")[2] for name in chosen if name.startswith("model.layers.")}
    embeddings, head = ("trained" if name in chosen else "frozen" for name in _ENDS)
    ends = f"embeddings and head, which are one tensor, {embeddings}" if base.tied else f"embeddings {embeddings}"
    ends += "" if base.tied else f", head {head}"
    depth = int(base.config.num_hidden_layers)
    return f"{recipe.method}: {len(chosen)} of {len(parameters)} tensors, in {len(layers)} of {depth} layers; {ends}"
