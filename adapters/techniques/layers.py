"""LoRA, rsLoRA, DoRA, QLoRA and IA3: PEFT's changes of linear layers. The head stays as it is."""

from collections.abc import Iterable

import torch
from peft import IA3Config, LoraConfig, PeftConfig, TaskType
from peft.utils import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
)
from transformers import PreTrainedModel

from adapters.base_model import BaseModelInfo
from adapters.packed_linear import pack_frozen
from adapters.recipe import LoraOptions, Recipe
from adapters.techniques.peft_files import PeftFiles, wrap
from adapters.techniques.trainee import Trainee
from ragtune.errors import RefusedArtifact


def begin(recipe: Recipe, base: BaseModelInfo, device: str) -> Trainee:
    """Raises RefusedArtifact if a layer that the recipe names is none, or without the hardware QLoRA needs."""
    files = PeftFiles(base, device, quantised=recipe.method == "qlora")
    model = files.fresh()
    layers = _Layers(recipe, model)
    config, description = layers.ia3() if recipe.method == "ia3" else layers.lora()
    if not files.quantised:
        pack_frozen(model)
    torch.manual_seed(recipe.seed)
    return Trainee(wrap(model, config), base, files, description)


class _Layers:
    """The linear layers of a model, and those of them that a recipe names."""

    def __init__(self, recipe: Recipe, model: PreTrainedModel) -> None:
        self._recipe, self._type = recipe, str(model.config.model_type)
        self._depth = int(model.config.num_hidden_layers)
        self._paths = [
            path for path, module in model.get_decoder().named_modules() if isinstance(module, torch.nn.Linear)
        ]
        self._known = sorted({path.rpartition(".")[2] for path in self._paths})

    def lora(self) -> tuple[PeftConfig, str]:
        method = self._recipe.method
        options: LoraOptions = getattr(self._recipe, method)
        target = self._known if options.target == "all-linear" else self._checked("target", options.target)
        layers = self._last(options.layers)
        chosen = [path for path in _ending(self._paths, target) if layers is None or int(path.split(".")[1]) in layers]
        for field in ("rank_pattern", "alpha_pattern"):
            self._check_pattern(field, getattr(options, field), chosen)
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=options.rank,
            lora_alpha=options.alpha,
            use_rslora=options.rslora,
            use_dora=method == "dora",
            lora_dropout=options.dropout,
            rank_pattern=dict(options.rank_pattern),
            alpha_pattern=dict(options.alpha_pattern),
            target_modules=list(target),
            layers_to_transform=layers,
        )
        ranks = ", ".join(map(str, sorted({options.rank, *options.rank_pattern.values()})))
        return config, f"{method} of rank {ranks} on {len(chosen)} of {len(self._paths)} linear layers"

    def ia3(self) -> tuple[PeftConfig, str]:
        options = self._recipe.ia3
        target = options.target or tuple(TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING[self._type])
        inner = options.feedforward
        if inner is None:
            usual = TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING[self._type]
            inner = tuple(name for name in usual if name in target)
        self._checked("target", target)
        self._checked("feedforward", inner)
        if strangers := sorted(set(inner) - set(target)):
            raise RefusedArtifact(
                f"recipe {self._recipe.name}: ia3.feedforward {strangers[0]!r} is not in ia3.target; add it there, too"
            )
        config = IA3Config(task_type=TaskType.CAUSAL_LM, target_modules=list(target), feedforward_modules=list(inner))
        return config, f"ia3 on {len(_ending(self._paths, target))} of {len(self._paths)} linear layers"

    def _checked(self, field: str, names: Iterable[str]) -> list[str]:
        """`names`, each of which is the end of some linear layer's; PEFT only minds if none of them is."""
        for name in names:
            if not _ending(self._paths, [name]):
                raise RefusedArtifact(
                    f"recipe {self._recipe.name}: {self._recipe.method}.{field} {name!r} matches no linear layer of "
                    f"{self._type}; there are {', '.join(self._known)}"
                )
        return list(names)

    def _check_pattern(self, field: str, pattern: Iterable[str], chosen: list[str]) -> None:
        for name in pattern:
            if not _ending(chosen, [name]):
                raise RefusedArtifact(
                    f"recipe {self._recipe.name}: {self._recipe.method}.{field} {name!r} is the end of no layer "
                    f"that is trained; there are {', '.join(sorted({path.rpartition('.')[2] for path in chosen}))}; a "
                    "single one is named as in layers.0.self_attn.q_proj"
                )

    def _last(self, wanted: int | None) -> list[int] | None:
        """Indices of the last `wanted` decoder layers: what lies below needs no gradient, and so no backward pass."""
        if wanted is None:
            return None
        if wanted > self._depth:
            raise RefusedArtifact(
                f"recipe {self._recipe.name}: {self._recipe.method}.layers is {wanted}; this model has "
                f"{self._depth} layers"
            )
        return list(range(self._depth - wanted, self._depth))


def _ending(paths: Iterable[str], names: Iterable[str]) -> list[str]:
    """The paths that end with one of `names`, at a dot."""
    ends = tuple(f".{name}" for name in names)
    return [path for path in paths if f".{path}".endswith(ends)]
