"""Check an adapter folder against the base model, and write down what it is.

Everything that can be wrong with an adapter is found here, at registration, so that the engine never meets it. Works
on headers, numbers and names; neither torch nor PEFT reads the files.
"""

import hashlib
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.fingerprint import file_sha256
from adapters.lora import check_fit, pair_up
from adapters.manifest import RECORD_FILE, AdapterKind, AdapterManifest, Method, TrainingRecord
from adapters.peft_config import CONFIG_FILE, LoraSettings, PeftConfig, read_config
from adapters.prompts import check_prompt, expected_width
from adapters.stored_tensors import WEIGHTS_FILE, StoredTensor, matrix_shapes, read_stored
from ragtune.errors import RefusedArtifact

FILES = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE)
_KINDS: dict[str, tuple[AdapterKind, Method]] = {
    "LORA": ("lora", "lora"),
    "PROMPT_TUNING": ("soft_prompt", "prompt_tuning"),
    "P_TUNING": ("soft_prompt", "p_tuning"),
    "PREFIX_TUNING": ("prefix", "prefix_tuning"),
}


def inspect(folder: Path, base: BaseModelInfo) -> AdapterManifest:
    """What the adapter in `folder` is. Raises RefusedArtifact with the reason if it is broken or does not fit `base`.

    An adapter whose training recorded its base model must have been trained on this very one; without a record its
    shapes must fit, and the manifest says `base: unverified`.
    """
    config = read_config(folder)
    record = TrainingRecord.read(folder)
    if record is not None and record.base_fingerprint != base.fingerprint:
        raise RefusedArtifact(
            f"it was trained on the base model {record.base_id} (fingerprint {record.base_fingerprint[:12]}), "
            f"this server runs {base.id} ({base.fingerprint[:12]})"
        )
    tensors = read_stored(folder)
    try:
        ranks, targets, virtual_tokens = _check(config, tensors, base)
    except RefusedArtifact as error:
        raise RefusedArtifact(f"{error.message}{_origin(config, base)}") from error
    kind, method = _KINDS[config.peft_type]
    return AdapterManifest(
        kind=kind,
        method=method,
        base="unverified" if record is None else "verified",
        base_name=config.base_name if record is None else record.base_id,
        checked_against=base.fingerprint,
        architecture=base.architecture,
        sha256=_hash(folder),
        bytes=(folder / WEIGHTS_FILE).stat().st_size,
        parameters=sum(tensor.size for tensor in tensors.values()),
        ranks=ranks,
        target_modules=targets,
        virtual_tokens=virtual_tokens,
        peft_version=config.peft_version,
        training=record,
    )


def _check(
    config: PeftConfig, tensors: dict[str, StoredTensor], base: BaseModelInfo
) -> tuple[tuple[int, ...], tuple[str, ...], int]:
    """(distinct ranks, last names of the layers changed, virtual tokens)."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    settings = config.settings
    if not isinstance(settings, LoraSettings):
        return (), (), check_prompt(shapes, config, expected_width(config.peft_type, base.config))
    pairs = pair_up(shapes, settings)
    check_fit(pairs, shapes, settings, matrix_shapes(base.folder))
    ranks = sorted({shapes[pair.a][0] for pair in pairs.values()})
    return tuple(ranks), tuple(sorted({module.rpartition(".")[2] for module in pairs})), 0


def _origin(config: PeftConfig, base: BaseModelInfo) -> str:
    if config.base_name in (None, "", base.id):
        return ""
    return f" (the adapter names {config.base_name!r} as its base model, this is {base.id})"


def _hash(folder: Path) -> str:
    present = [name for name in FILES if (folder / name).is_file()]
    return hashlib.sha256("\0".join(f"{name} {file_sha256(folder / name)}" for name in present).encode()).hexdigest()
