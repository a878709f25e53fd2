"""Prompt tuning, P-tuning and prefix tuning: PEFT's virtual tokens before the text."""

import torch
from peft import (
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptEncoderReparameterizationType,
    PromptTuningConfig,
    PromptTuningInit,
    TaskType,
)

from adapters.base_model import BaseModelInfo
from adapters.recipe import Recipe
from adapters.techniques.loading import load_base
from adapters.techniques.peft_files import PeftFiles, wrap
from adapters.techniques.trainee import Trainee
from adapters.tokenizer import load_tokenizer

# PEFT draws a prefix from N(0, 1), with which SmolLM2 starts at 11.7 nats a token instead of 6.2 (without a prefix) and
# 5.0 (at a tenth of it). Not zero: then all virtual tokens have the same gradient, and stay one and the same.
_QUIET = 0.1
_BY = {"mlp": PromptEncoderReparameterizationType.MLP, "lstm": PromptEncoderReparameterizationType.LSTM}


def begin(recipe: Recipe, base: BaseModelInfo, device: str) -> Trainee:
    """The frozen base model with virtual tokens before every text."""
    if recipe.method == "prompt_tuning":
        config, description = _prompt_tuning(recipe, base)
    else:
        config, description = _p_tuning(recipe) if recipe.method == "p_tuning" else _prefix_tuning(recipe, base)
    model = load_base(base, packed=True, device=device)
    torch.manual_seed(recipe.seed)
    wrapped = wrap(model, config)
    if recipe.method == "prefix_tuning" and not recipe.prefix_tuning.projection:
        with torch.no_grad():
            wrapped.prompt_encoder["default"].embedding.weight.mul_(_QUIET)
    return Trainee(wrapped, base, PeftFiles(base, device), description)


def _prompt_tuning(recipe: Recipe, base: BaseModelInfo) -> tuple[PeftConfig, str]:
    options = recipe.prompt_tuning
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=options.virtual_tokens)
    what = f"{options.virtual_tokens} virtual tokens"
    if not options.init_text:
        config.prompt_tuning_init = PromptTuningInit.SAMPLE_VOCAB
        return config, f"{what}, starting from random words"
    config.prompt_tuning_init = PromptTuningInit.TEXT
    config.prompt_tuning_init_text, config.tokenizer_name_or_path = options.init_text, str(base.folder)
    there = len(load_tokenizer(base.folder).encode(options.init_text)[0])
    part = f"the first {options.virtual_tokens} of the {there} tokens of " if there > options.virtual_tokens else ""
    return config, f"{what}, starting from {part}{options.init_text!r}"


def _p_tuning(recipe: Recipe) -> tuple[PeftConfig, str]:
    options = recipe.p_tuning
    config = PromptEncoderConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=options.virtual_tokens,
        encoder_reparameterization_type=_BY[options.encoder],
        encoder_hidden_size=options.hidden,
    )
    return (
        config,
        f"{options.virtual_tokens} virtual tokens through an encoder ({options.encoder}), baked in when saved",
    )


def _prefix_tuning(recipe: Recipe, base: BaseModelInfo) -> tuple[PeftConfig, str]:
    options = recipe.prefix_tuning
    config = PrefixTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=options.virtual_tokens,
        prefix_projection=options.projection,
        encoder_hidden_size=(options.hidden or base.config.hidden_size) if options.projection else None,
    )
    through = " through a projection, baked in when saved" if options.projection else ""
    return config, f"keys and values of {options.virtual_tokens} virtual tokens in every layer{through}"
