"""Read PEFT's `adapter_config.json`, without PEFT, and refuse what we would get wrong.

A field that is unknown or unsupported and set is a refusal, never ignored: many of them change what the weights mean.
The names and rules follow PEFT 0.21.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragtune.errors import RefusedArtifact

CONFIG_FILE = "adapter_config.json"
MOST_JSON = 1 << 20  # bytes of a config or a record: they are read as a whole, and again with every version
Checked = TypeVar("Checked", bound=BaseModel)

# These say where an adapter came from or how it was trained, and nothing about what its weights mean.
_ANY_TYPE = {"peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
_ANY_TYPE |= {"inference_mode"}
_LORA_NEUTRAL = _ANY_TYPE | {"lora_dropout", "init_lora_weights", "loftq_config", "eva_config", "corda_config"}
_LORA_NEUTRAL |= {"lora_ga_config", "qalora_group_size", "runtime_config", "megatron_core"}
_LORA_NEUTRAL |= {"fan_in_fan_out"}  # PEFT ignores it on nn.Linear, and the supported models have nothing else
_PROMPT_NEUTRAL = _ANY_TYPE | {"token_dim", "num_attention_heads", "num_layers", "prompt_tuning_init"}
_PROMPT_NEUTRAL |= {"prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs", "init_weights"}
_PROMPT_NEUTRAL |= {"encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"}
_PROMPT_NEUTRAL |= {"prefix_projection"}  # PEFT saves the projected prefix
# Of the kinds that PEFT itself merges, PEFT reads the fields; here stand those whose meaning it was tried with.
_MERGED_ANY = _ANY_TYPE | {"r", "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform"}
_MERGED_ANY |= {"layers_pattern", "fan_in_fan_out", "init_weights", "bias", "rank_pattern", "alpha_pattern"}
_FACTORS = {"alpha", "rank_dropout", "module_dropout"}
_MERGED_FIELDS: Mapping[str, set[str]] = {
    "IA3": _MERGED_ANY | {"feedforward_modules", "init_ia3_weights"},
    "LOHA": _MERGED_ANY | _FACTORS,
    "LOKR": _MERGED_ANY | _FACTORS | {"decompose_both", "decompose_factor", "rank_dropout_scale"},
    "OFT": _MERGED_ANY
    | {"oft_block_size", "module_dropout", "coft", "eps", "block_share"}
    | {"use_cayley_neumann", "num_cayley_neumann_terms"},
    "ADALORA": _MERGED_ANY
    | _LORA_NEUTRAL
    | {"lora_alpha", "use_rslora", "target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2"}
    | {"orth_reg_weight", "total_step"},
    "VERA": _MERGED_ANY | {"projection_prng_key", "save_projection", "vera_dropout", "d_initial"},
}

_WHY = {
    "trainable_token_indices": "it changes the embeddings of single tokens; train them whole with modules_to_save",
    "alora_invocation_tokens": "aLoRA applies only after its invocation tokens",
    "layer_replication": "it runs layers several times",
    "target_parameters": "it targets bare parameters instead of linear layers",
}
# Initialisations after which the base model is still the one everyone has; PiSSA, OLoRA, CorDA, LoRA-GA, LoftQ and
# MiCA subtract from or quantise the base weights, so that their saved A and B belong to a different base.
_PLAIN_INITIALISATIONS = ("true", "false", "gaussian", "eva", "orthogonal")
_EMPTY: tuple[object, ...] = (None, False, [], {}, "", "none")
_PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")


class LoraSettings(BaseModel):
    """What the config of a LoRA says about its weights."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    r: int = Field(default=8, ge=1, le=65536)
    lora_alpha: float = Field(default=8.0, allow_inf_nan=False)
    use_rslora: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    lora_bias: bool = False
    modules_to_save: list[str] = []
    ensure_weight_tying: bool = False
    use_dora: bool = False

    def rank(self, module: str) -> int:
        """The rank of `module` (its full name in the base model)."""
        return self.rank_pattern.get(_pattern_for(module, self.rank_pattern), self.r)

    def scale(self, module: str) -> float:
        """The factor of the delta: alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023, theorem 3.2)."""
        alpha = self.alpha_pattern.get(_pattern_for(module, self.alpha_pattern), self.lora_alpha)
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


class PromptSettings(BaseModel):
    """What the config of a soft prompt or prefix says about its weights."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    num_virtual_tokens: int = Field(ge=1, le=1_000_000)
    num_transformer_submodules: Literal[1] = 1


class MergedSettings(BaseModel):
    """What bounds the size of an adapter that PEFT merges; everything else in its config is PEFT's to read."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    r: int = Field(default=8, ge=0)
    init_r: int = Field(default=12, ge=1)
    oft_block_size: int = Field(default=1, ge=0)
    rank_pattern: dict[str, Any] = {}
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] = []
    bias: Literal["none"] = "none"

    @property
    def widest(self) -> int:
        """The largest rank or block it asks for."""
        patterns = [rank for rank in self.rank_pattern.values() if isinstance(rank, int)]
        return max(self.r, self.init_r, self.oft_block_size, *patterns)


Settings = LoraSettings | PromptSettings | MergedSettings


class PeftConfig(BaseModel):
    """A checked config: the type, the settings that belong to it, and where it says it comes from."""

    model_config = ConfigDict(frozen=True)

    peft_type: str
    settings: Settings
    base_name: str | None = None
    peft_version: str | None = None


def read_config(folder: Path) -> PeftConfig:
    """The checked config of an adapter folder. Raises RefusedArtifact naming the field at fault and the reason."""
    fields = _read_json(folder)
    peft_type = fields.get("peft_type")
    settings: Settings
    _check_patterns(fields)
    if peft_type == "LORA":
        settings = _lora_settings(fields)
    elif peft_type in _PROMPTS:
        settings = _prompt_settings(fields)
    elif isinstance(peft_type, str) and peft_type in _MERGED_FIELDS:
        _refuse_unknown(fields, _MERGED_FIELDS[peft_type])
        settings = _validated(MergedSettings, fields)
    else:
        supported = ", ".join(sorted(["LORA", *_PROMPTS, *_MERGED_FIELDS]))
        raise RefusedArtifact(f"{CONFIG_FILE}: peft_type {peft_type!r} is not supported; supported are {supported}")
    if fields.get("task_type") not in (None, "CAUSAL_LM"):
        raise RefusedArtifact(f"{CONFIG_FILE}: task_type is {fields['task_type']!r}; only CAUSAL_LM adapters fit here")
    origin = {"base_name": fields.get("base_model_name_or_path"), "peft_version": fields.get("peft_version")}
    return _validated(PeftConfig, {"peft_type": peft_type, "settings": settings, **origin})


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if path.is_file() and path.stat().st_size > MOST_JSON:
        raise RefusedArtifact(f"{CONFIG_FILE} is larger than {MOST_JSON >> 20} MiB")
    if not path.is_file():
        raise RefusedArtifact(f"no {CONFIG_FILE} in {folder}; give the folder that PEFT's save_pretrained wrote")
    try:
        fields = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RefusedArtifact(f"{CONFIG_FILE} is not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise RefusedArtifact(f"{CONFIG_FILE} holds no JSON object")
    return fields


def _lora_settings(fields: Mapping[str, Any]) -> LoraSettings:
    _refuse_unknown(fields, _LORA_NEUTRAL | set(LoraSettings.model_fields))
    initialisation = str(fields.get("init_lora_weights", True)).lower()
    if initialisation not in _PLAIN_INITIALISATIONS:
        raise RefusedArtifact(
            f"{CONFIG_FILE}: init_lora_weights {initialisation!r} changes the base model's own weights; save the "
            "adapter with PEFT's path_initial_model_for_weight_conversion to make it an ordinary LoRA"
        )
    settings = _validated(LoraSettings, fields)
    if any(rank < 1 for rank in settings.rank_pattern.values()):
        raise RefusedArtifact(f"{CONFIG_FILE}: rank_pattern: a rank is at least 1")
    if not all(map(math.isfinite, settings.alpha_pattern.values())):
        raise RefusedArtifact(f"{CONFIG_FILE}: alpha_pattern: every alpha must be a finite number")
    return settings


def _prompt_settings(fields: Mapping[str, Any]) -> PromptSettings:
    _refuse_unknown(fields, _PROMPT_NEUTRAL | set(PromptSettings.model_fields))
    return _validated(PromptSettings, fields)


def _refuse_unknown(fields: Mapping[str, Any], known: set[str]) -> None:
    for name, value in fields.items():
        if name not in known and value not in _EMPTY:
            reason = _WHY.get(name, "it may change what the weights mean, and is not supported here")
            raise RefusedArtifact(f"{CONFIG_FILE}: {name} is set: {reason}")


def _validated(model: type[Checked], fields: Mapping[str, Any]) -> Checked:
    try:
        return model.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise RefusedArtifact(f"{CONFIG_FILE}: {name}: {first['msg']}") from error


def _pattern_for(module: str, patterns: Iterable[str]) -> str:
    """The first pattern that matches the end of `module` at a dot, as PEFT's `get_pattern_key`; else `module`."""
    for pattern in patterns:
        if re.match(rf"(.*\.)?({pattern})$", module):
            return pattern
    return module


def _check_patterns(fields: Mapping[str, Any]) -> None:
    """Every regular expression in a config, those that only PEFT reads among them. Raises RefusedArtifact."""
    for name in ("rank_pattern", "alpha_pattern"):
        if isinstance(fields.get(name), dict):
            for pattern in fields[name]:
                _check_pattern(str(pattern))
    for name in ("target_modules", "exclude_modules", "layers_pattern", "feedforward_modules", "modules_to_save"):
        if isinstance(fields.get(name), str):
            _check_pattern(fields[name])


def _check_pattern(pattern: str) -> None:
    """A hostile expression could keep the matcher busy for ever: no repeated groups, few repetitions and options."""
    plain = re.sub(r"\(\?[:=!<]|\\.", "(", pattern)  # neither `(?:` nor an escaped sign repeats anything
    repeated, optional = len(re.findall(r"[*+{]", plain)), len(re.findall(r"(?<![*+}])\?", plain))
    if len(pattern) > 1000 or re.search(r"\)[*+{?]", plain) or repeated > 5 or optional > 10:
        raise RefusedArtifact(f"{CONFIG_FILE}: the pattern {pattern[:60]!r} is too complex")
    try:
        re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, OverflowError, RecursionError) as error:
        raise RefusedArtifact(f"{CONFIG_FILE}: {pattern!r} is no regular expression: {error}") from error
