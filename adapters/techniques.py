"""The techniques: a recipe's method as a PEFT model around the frozen base."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from adapters.base_model import BaseModelInfo
from adapters.packed_linear import pack_frozen
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact


def load_base(base: BaseModelInfo, *, packed: bool, device: str = "auto") -> PreTrainedModel:
    """The base model in fp32, frozen, on `device` (auto: CUDA where there is one); `packed` for speed, on the CPU."""
    logging.disable_progress_bar()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        base.folder, dtype=torch.float32, local_files_only=True
    )
    model.requires_grad_(False)
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return model.to("cuda")
    if packed:
        pack_frozen(model)
    return model


def wrap(model: PreTrainedModel, recipe: Recipe, base: BaseModelInfo) -> PeftModel:
    """The PEFT model to train, initialised by the recipe's seed. Raises RefusedArtifact if a target is no layer."""
    torch.manual_seed(recipe.seed)
    config = _lora(recipe, model) if recipe.method == "lora" else _prompt_tuning(recipe, base)
    with _quiet():
        wrapped = get_peft_model(model, config)
    assert isinstance(wrapped, PeftModel)
    return wrapped


def save(model: PeftModel, folder: Path, base: BaseModelInfo) -> None:
    """Write PEFT's files. They name the base model, and no folder of this machine."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base.id
    if isinstance(config, PromptTuningConfig):  # how it was initialised no longer matters
        config.prompt_tuning_init, config.tokenizer_name_or_path = PromptTuningInit.RANDOM, None
    model.save_pretrained(str(folder), save_embedding_layers=False)  # "auto" would ask the hub


def reload(folder: Path, base: BaseModelInfo, device: str = "auto") -> PeftModel:
    """The saved adapter on a fresh base model, as anyone with plain PEFT would load it."""
    with _quiet():
        return PeftModel.from_pretrained(load_base(base, packed=False, device=device), str(folder)).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """PEFT 0.21 asks transformers for a property by its old name, which warns on every use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        yield


def _lora(recipe: Recipe, model: PreTrainedModel) -> LoraConfig:
    options = recipe.lora
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=options.rank,
        lora_alpha=options.alpha,
        use_rslora=options.rslora,
        target_modules=_targets(recipe, model),
        layers_to_transform=_layers(recipe, model),
    )


def _targets(recipe: Recipe, model: PreTrainedModel) -> list[str]:
    """Names of linear layers inside the decoder; the head stays as it is."""
    paths = [path for path, module in model.get_decoder().named_modules() if isinstance(module, torch.nn.Linear)]
    known = sorted({path.rpartition(".")[2] for path in paths})
    if recipe.lora.target == "all-linear":
        return known
    for target in recipe.lora.target:  # PEFT only minds if none of them matches
        if not any(f".{path}".endswith(f".{target}") for path in paths):
            raise RefusedArtifact(
                f"recipe {recipe.name}: lora.target {target!r} matches no linear layer of {model.config.model_type}; "
                f"there are {', '.join(known)}"
            )
    return list(recipe.lora.target)


def _layers(recipe: Recipe, model: PreTrainedModel) -> list[int] | None:
    """Indices of the last `layers` decoder layers: what lies below needs no gradient, and so no backward pass."""
    wanted, there = recipe.lora.layers, int(model.config.num_hidden_layers)
    if wanted is None:
        return None
    if wanted > there:
        raise RefusedArtifact(f"recipe {recipe.name}: lora.layers is {wanted}; this model has {there} layers")
    return list(range(there - wanted, there))


def _prompt_tuning(recipe: Recipe, base: BaseModelInfo) -> PromptTuningConfig:
    return PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=recipe.prompt_tuning.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.TEXT,
        prompt_tuning_init_text=recipe.prompt_tuning.init_text,
        tokenizer_name_or_path=str(base.folder),
    )
