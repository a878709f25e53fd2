"""A fine-tuned checkpoint: a model folder like the base model's, some or all of whose tensors were trained.

What is kept of it is a lane: the tensors that differ from the base model's, in the type they are stored in, and the
config. With the base model they make the whole checkpoint again (`adapters.export`).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from adapters.base_model import BaseModelInfo
from adapters.content import CHECKPOINT_FILES, MODEL_CONFIG, content_hash
from adapters.fingerprint import VOLATILE
from adapters.inspection import read_record
from adapters.lane_file import LANE_FILE, read_lane, write_lane
from adapters.lora import EMBEDDING, HEAD, check_replacement
from adapters.manifest import AdapterManifest, HeadOf
from adapters.stored_tensors import parameter_shapes
from ragtune.errors import RefusedArtifact

# Fields that may differ: they do not change what the tensors compute.
_FREE = frozenset({"architectures", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"})
_FREE |= {"use_cache", "attention_dropout", "initializer_range"}
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def take_checkpoint(source: Path, staged: Path, base: BaseModelInfo) -> AdapterManifest:
    """Write the lane of the checkpoint in `source` into `staged`, where its small files lie already, and describe it.

    Raises RefusedArtifact, saying why, if it is no fine-tune of `base` or is broken.
    """
    record = read_record(staged, base)
    tied = _check_config(staged, base)
    shapes = parameter_shapes(source)
    _check_names(shapes, base, tied)
    changed = dict(_changed(source, base, whole_embeddings=tied and not base.tied))
    if tied and f"{HEAD}.weight" in changed and _same_head(changed, base):
        del changed[f"{HEAD}.weight"]
    head: HeadOf = "base"
    if f"{HEAD}.weight" in changed:
        head = "own"
    elif tied and f"{EMBEDDING}.weight" in changed:
        head = "tied"
    if not changed:
        raise RefusedArtifact("every tensor of this checkpoint is the base model's own; there is nothing to serve")
    write_lane(staged, changed, head)
    whole = len(changed) == len(shapes)
    return AdapterManifest(
        kind="checkpoint",
        method=record.method if record is not None else "full" if whole else "partial",
        base="unverified" if record is None else "verified",
        base_name=None if record is None else record.base_id,
        checked_against=base.fingerprint,
        architecture=base.architecture,
        sha256=content_hash(staged, "checkpoint"),
        bytes=(staged / LANE_FILE).stat().st_size,
        parameters=sum(tensor.numel() for tensor in changed.values()),
        target_modules=tuple(sorted({name.split(".")[-2] for name in changed})),
        head=head,
        eos_ids=_ends(staged, base),
        memory=4 * (sum(tensor.numel() for tensor in changed.values()) + _head_again(changed, head)),
        training=record,
    )


def _same_head(changed: dict[str, Tensor], base: BaseModelInfo) -> bool:
    """Whether a head that comes with tied embeddings is these embeddings: if not, transformers uses it, too."""
    embeddings = changed.get(f"{EMBEDDING}.weight")
    if embeddings is None:
        return not _Originals(base.folder).differs(f"{EMBEDDING}.weight", changed[f"{HEAD}.weight"])
    return torch.equal(embeddings, changed[f"{HEAD}.weight"])


def _head_again(changed: dict[str, Tensor], head: HeadOf) -> int:
    """Numbers a tied head takes besides the embeddings: packed, it is a copy."""
    return changed[f"{EMBEDDING}.weight"].numel() if head == "tied" else 0


def _ends(folder: Path, base: BaseModelInfo) -> tuple[int, ...]:
    """The tokens its configs say it ends with. Raises RefusedArtifact for one outside the vocabulary."""
    found: set[int] = set()
    for name in CHECKPOINT_FILES[:2]:
        try:
            values = json.loads((folder / name).read_bytes()) if (folder / name).is_file() else {}
        except (ValueError, RecursionError) as error:
            raise RefusedArtifact(f"{name} is not valid JSON: {error}") from error
        ids = values.get("eos_token_id") if isinstance(values, dict) else None
        found |= {token for token in (ids if isinstance(ids, list) else [ids]) if isinstance(token, int)}
    if any(not 0 <= token < base.shapes[f"{EMBEDDING}.weight"][0] for token in found):
        raise RefusedArtifact(f"eos_token_id {max(found)} is no token of this base model")
    return tuple(sorted(found))


def make_whole(folder: Path, base: BaseModelInfo, target: Path) -> Path:
    """Write all tensors of the checkpoint in a folder of the store to `target`: its own, the others from `base`.

    They come in the type the checkpoint's own are stored in.
    """
    lane = read_lane(folder)
    tied = _read(folder).tie_word_embeddings
    dtype = next(iter(lane.values())).dtype
    tensors: dict[str, Tensor] = {}
    for path in sorted(base.folder.glob("*.safetensors")):
        tensors |= {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    tensors.setdefault(f"{HEAD}.weight", tensors[f"{EMBEDDING}.weight"].clone())  # the base model's may be tied
    tensors |= {name: tensor.clone() for name, tensor in lane.items()}
    if tied:
        del tensors[f"{HEAD}.weight"]
    save_file(tensors, target, metadata={"format": "pt"})
    return target


def _check_config(folder: Path, base: BaseModelInfo) -> bool:
    """Whether its head is tied. Raises RefusedArtifact where its config makes it another model than `base`."""
    try:
        values = json.loads((folder / MODEL_CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        raise RefusedArtifact(f"{MODEL_CONFIG} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise RefusedArtifact(f"{MODEL_CONFIG} holds no JSON object")
    if "auto_map" in values:
        raise RefusedArtifact(f"{MODEL_CONFIG}: auto_map asks for code of its own to be run; that is never done")
    if values.get("quantization_config") is not None:
        raise RefusedArtifact("it is quantised; use the original weights (fp32, fp16 or bf16)")
    config = _read(folder)
    if (config.architectures or [base.architecture])[0] != base.architecture:
        raise RefusedArtifact(f"it is a {config.architectures[0]}, the base model a {base.architecture}")
    given, expected = config.to_dict(), base.config.to_dict()
    for name in sorted(given.keys() | expected.keys()):
        if name.startswith("_") or name in VOLATILE or name in _FREE or given.get(name) == expected.get(name):
            continue
        raise RefusedArtifact(
            f"{MODEL_CONFIG}: {name} is {given.get(name)!r}, the base model's is {expected.get(name)!r}; a checkpoint "
            "can only be served beside the base model it was trained from"
        )
    return bool(config.tie_word_embeddings)


def _read(folder: Path) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise RefusedArtifact(f"{MODEL_CONFIG} cannot be read: {str(error).splitlines()[0]}") from error


def _check_names(shapes: dict[str, tuple[int, ...]], base: BaseModelInfo, tied: bool) -> None:
    if not shapes:
        raise RefusedArtifact("there is no *.safetensors file in it; save it with safe_serialization=True")
    for name, shape in shapes.items():
        check_replacement(name, shape, base.shapes)
    missing = sorted(base.shapes.keys() - shapes.keys() - ({f"{HEAD}.weight"} if tied else set()))
    if missing:
        raise RefusedArtifact(f"it is incomplete: {len(missing)} of the base model's tensors are missing: {missing[0]}")


def _changed(source: Path, base: BaseModelInfo, *, whole_embeddings: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors that differ from the base model's, each read once; with `whole_embeddings` those in any case.

    Raises RefusedArtifact for one that is broken.
    """
    originals = _Originals(base.folder)
    for path in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 - not a dict
                    tensor = stored.get_tensor(name)
                    if tensor.dtype not in _FLOATS:
                        raise RefusedArtifact(f"{name} is of type {tensor.dtype}; expected fp32, fp16, bf16 or fp64")
                    if not tensor.isfinite().all():
                        raise RefusedArtifact(f"{name} holds NaN or infinite values; the training went wrong")
                    if originals.differs(name, tensor) or (whole_embeddings and name == f"{EMBEDDING}.weight"):
                        yield name, tensor
        except (SafetensorError, OSError) as error:
            raise RefusedArtifact(f"{path.name} is not a safetensors file, or is cut short: {error}") from error


class _Originals:
    """The base model's tensors on disk, one at a time; a head that is tied is the embeddings."""

    def __init__(self, folder: Path) -> None:
        self._files = {name: path for path in sorted(folder.glob("*.safetensors")) for name in _names(path)}

    def differs(self, name: str, tensor: Tensor) -> bool:
        """Whether `tensor` is another than the base model's `name`, both read as fp32."""
        name = name if name in self._files else f"{EMBEDDING}.weight"
        with safe_open(self._files[name], framework="pt") as stored:
            return not torch.equal(stored.get_tensor(name).float(), tensor.float())


def _names(path: Path) -> list[str]:
    """The names in one safetensors file."""
    with safe_open(path, framework="pt") as stored:
        return list(stored.keys())
