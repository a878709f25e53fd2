"""Find the one base model everything else builds on: the embedded one, a local folder, or a hub id.

`locate_base_model` answers with a folder that `from_pretrained` reads, what the model is, and a fingerprint of its
content. The embedded model comes as a quantised GGUF file and is converted once into the cache folder (see
`adapters.conversion`); a model from the hub is downloaded only if it is not there yet, and never when
HF_HUB_OFFLINE is set. `python -m adapters.base_model` does all this and prints what it found.

Nothing here loads weights; that is the engine's and the training's business.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from transformers import AutoConfig, PreTrainedConfig

from adapters.conversion import EMBEDDED_ID, EMBEDDED_NOTE, embedded_base_model
from adapters.fingerprint import fingerprint_of, weight_files
from adapters.lora import EMBEDDING, HEAD
from adapters.stored_tensors import parameter_shapes
from ragtune.errors import RefusedArtifact
from ragtune.settings import EMBEDDED, Settings
from ragtune.terminal import print_json, say

SUPPORTED = (
    "LlamaForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
)
# Frequencies that are fixed when the model is built. "dynamic" and "longrope" choose theirs by the longest sequence
# of a whole forward, so in a mixed batch one request would change the answers of the others.
FIXED_ROPE = frozenset({"default", "linear", "llama3", "yarn"})
_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class BaseModelInfo:
    """A base model on disk. `id` is what `/v1/models` shows; `note` is said wherever results are shown."""

    folder: Path
    id: str
    fingerprint: str
    architecture: str
    config: PreTrainedConfig
    note: str | None = None

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter by name; a head that is tied to the embeddings has one, too."""
        shapes = parameter_shapes(self.folder)
        if self.tied:
            shapes[f"{HEAD}.weight"] = shapes[f"{EMBEDDING}.weight"]
        return shapes

    @property
    def tied(self) -> bool:
        """Whether the output head is the embeddings."""
        return bool(self.config.tie_word_embeddings)


def locate_base_model(settings: Settings, progress: Callable[[str], None] = say) -> BaseModelInfo:
    """The model that `settings.base_model` names, converted or downloaded first where needed.

    `progress` gets a line before anything that takes long. Raises RefusedArtifact, saying what to do, if there is no
    such folder or model, if it is of an unsupported architecture, or if its files are incomplete.
    """
    wanted = settings.base_model
    if wanted == EMBEDDED:
        return describe(embedded_base_model(settings.cache, progress), settings.cache, EMBEDDED_ID, EMBEDDED_NOTE)
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        return describe(folder.resolve(), settings.cache, folder.resolve().name)
    return describe(_from_hub(wanted, progress), settings.cache, wanted)


def describe(folder: Path, cache: Path, model_id: str, note: str | None = None) -> BaseModelInfo:
    """What the model in `folder` is. Raises RefusedArtifact if it cannot serve as a base model."""
    config = _read_config(folder)
    architecture = _check_supported(config, model_id)
    if not weight_files(folder):
        raise RefusedArtifact(
            f"base model {model_id}: no *.safetensors file in {folder}; other weight formats are not read, "
            "convert them with save_pretrained first"
        )
    return BaseModelInfo(folder, model_id, fingerprint_of(folder, cache), architecture, config, note)


def _from_hub(model_id: str, progress: Callable[[str], None]) -> Path:
    if not _HUB_ID.fullmatch(model_id) or model_id.startswith("."):
        raise RefusedArtifact(f"base model: there is no folder {model_id}; set RAGTUNE_BASE_MODEL to one, or a hub id")
    try:
        return Path(snapshot_download(model_id, local_files_only=True, allow_patterns=_WANTED))
    except LocalEntryNotFoundError:
        progress(f"base model {model_id} is not on this machine yet; asking the hub")
    except HFValidationError as error:
        raise RefusedArtifact(f"base model {model_id!r} is neither a folder nor a hub id: {error}") from error
    try:
        return Path(snapshot_download(model_id, allow_patterns=_WANTED))
    except (OSError, RuntimeError) as error:
        raise RefusedArtifact(
            f"base model {model_id!r} is no folder here, is not in the hub cache and cannot be downloaded "
            f"({_first_line(error)}); check RAGTUNE_BASE_MODEL and HF_HUB_OFFLINE, or use a local folder"
        ) from error


def _read_config(folder: Path) -> PreTrainedConfig:
    if not (folder / "config.json").is_file():
        raise RefusedArtifact(f"base model: {folder} has no config.json, so it is not a model folder")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise RefusedArtifact(
            f"base model: the config.json in {folder} cannot be read: {_first_line(error)}"
        ) from error


def _check_supported(config: PreTrainedConfig, model_id: str) -> str:
    architectures = config.architectures or ["unknown"]
    if architectures[0] not in SUPPORTED:
        raise RefusedArtifact(
            f"base model {model_id}: architecture {architectures[0]} is not supported; supported are "
            + ", ".join(SUPPORTED)
        )
    if getattr(config, "quantization_config", None) is not None:
        raise RefusedArtifact(f"base model {model_id} is quantised; use the original weights (fp32, fp16 or bf16)")
    for rope_type in _rope_types(config):
        if rope_type not in FIXED_ROPE:
            raise RefusedArtifact(
                f"base model {model_id}: RoPE type {rope_type!r} is not supported, because its frequencies depend on "
                "the longest sequence of the whole batch, so that one request would change the answers of others"
            )
    return str(architectures[0])


def _rope_types(config: PreTrainedConfig) -> set[str]:
    parameters = getattr(config, "rope_parameters", None) or {}
    per_layer_type = [value for value in parameters.values() if isinstance(value, dict)]
    return {str(entry.get("rope_type", "default")) for entry in per_layer_type or [parameters]}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main() -> None:
    """Prepare the configured base model and print what was found."""
    base = locate_base_model(Settings.load())
    found = {"id": base.id, "architecture": base.architecture, "folder": str(base.folder)}
    print_json({**found, "fingerprint": base.fingerprint, "note": base.note})


if __name__ == "__main__":
    main()
