"""The techniques: a recipe's method as a PEFT model around the frozen base."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from adapters.base_model import BaseModelInfo
from adapters.packed_linear import pack_frozen
from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact


def load_base(base: BaseModelInfo, *, packed: bool) -> PreTrainedModel:
    """The base model in fp32, frozen; `packed` for speed, on the CPU."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        base.folder, dtype=torch.float32, local_files_only=True
    )
    model.requires_grad_(False)
    if torch.cuda.is_available():
        return model.to("cuda")
    if packed:
        pack_frozen(model)
    return model


def wrap(model: PreTrainedModel, recipe: Recipe, base: BaseModelInfo) -> PeftModel:
    """The PEFT model to train. Raises RefusedArtifact if a target matches no layer."""
    try:
        config = _lora(recipe, model) if recipe.method == "lora" else _prompt_tuning(recipe, base)
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise RefusedArtifact(f"recipe {recipe.name}: {error}") from error
    assert isinstance(wrapped, PeftModel)
    return wrapped


def save(model: PeftModel, folder: Path, base: BaseModelInfo) -> None:
    """Write PEFT's files. They name the base model, and no folder of this machine."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base.id
    if isinstance(config, PromptTuningConfig):  # how it was initialised no longer matters
        config.prompt_tuning_init, config.tokenizer_name_or_path = PromptTuningInit.RANDOM, None
    model.save_pretrained(str(folder))


def reload(folder: Path, base: BaseModelInfo) -> PeftModel:
    """The saved adapter on a fresh base model, as anyone with plain PEFT would load it."""
    return PeftModel.from_pretrained(load_base(base, packed=False), str(folder)).eval()


def _lora(recipe: Recipe, model: PreTrainedModel) -> LoraConfig:
    options = recipe.lora
    layers = int(model.config.num_hidden_layers)
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=options.rank,
        lora_alpha=options.alpha,
        use_rslora=options.rslora,
        target_modules=_linear_names(model) if options.target == "all-linear" else list(options.target),
        layers_to_transform=None if options.layers is None else list(range(max(0, layers - options.layers), layers)),
    )


def _linear_names(model: PreTrainedModel) -> list[str]:
    """The linear layers of a decoder layer by their own names; the head stays as it is."""
    decoder = model.get_decoder()
    return sorted({path.rpartition(".")[2] for path, m in decoder.named_modules() if isinstance(m, torch.nn.Linear)})


def _prompt_tuning(recipe: Recipe, base: BaseModelInfo) -> PromptTuningConfig:
    return PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=recipe.prompt_tuning.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.TEXT,
        prompt_tuning_init_text=recipe.prompt_tuning.init_text,
        tokenizer_name_or_path=str(base.folder),
    )
