"""The files that make an adapter, wherever it comes from: no other is unpacked or downloaded.

Weights are safetensors only. A pickle is never among them: reading one runs code of whoever made it.
"""

from collections.abc import Collection
from fnmatch import fnmatchcase

from adapters.manifest import RECORD_FILE
from adapters.peft_config import CONFIG_FILE
from adapters.stored_tensors import WEIGHTS_FILE
from ragtune.errors import RefusedArtifact

WANTED = (
    CONFIG_FILE,
    WEIGHTS_FILE,
    RECORD_FILE,
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
)
_CONFIGS = frozenset({CONFIG_FILE, "config.json"})
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def is_wanted(name: str) -> bool:
    """Whether a file of this name, without folders, belongs to an adapter."""
    return any(fnmatchcase(name, pattern) for pattern in WANTED)


def check_whole(found: Collection[str], ignored: Collection[str], place: str) -> None:
    """Raises RefusedArtifact unless there is a config and there are weights among the files `found` in `place`."""
    if not _CONFIGS.intersection(found):
        raise RefusedArtifact(
            f"{place} has no {CONFIG_FILE}; give what PEFT's save_pretrained wrote, {_where(ignored)}"
        )
    if any(name.endswith(".safetensors") for name in found):
        return
    pickles = sorted(name for name in ignored if name.endswith(_PICKLES))
    if pickles:
        raise RefusedArtifact(
            f"{place} has its weights as {pickles[0][:200]}, a pickle, and reading a pickle runs code of whoever made "
            "it; save it again with safe_serialization=True"
        )
    raise RefusedArtifact(f"{place} has no {WEIGHTS_FILE}, so no weights")


def _where(ignored: Collection[str]) -> str:
    there = ", ".join(name[:80] for name in sorted(ignored)[:5])
    return "at the top or in one folder" + (f" (there is: {there})" if there else "")
