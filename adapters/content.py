"""What an adapter's content is: the files that count, and a hash over them."""

import hashlib
from pathlib import Path

from adapters.fingerprint import file_sha256
from adapters.lane_file import LANE_FILE
from adapters.manifest import RECORD_FILE, AdapterKind
from adapters.peft_config import CONFIG_FILE
from adapters.stored_tensors import WEIGHTS_FILE
from ragtune.errors import RefusedArtifact

MODEL_CONFIG = "config.json"
PEFT_FILES = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE)
CHECKPOINT_FILES = (MODEL_CONFIG, "generation_config.json", RECORD_FILE)


def content_hash(folder: Path, kind: AdapterKind) -> str:
    """SHA-256 (hex) over the names and contents of an adapter's files.

    The lane of a merged kind does not count, as it is made from the others; that of a checkpoint is its weights.
    """
    files = (*CHECKPOINT_FILES, LANE_FILE) if kind == "checkpoint" else PEFT_FILES
    present = [name for name in files if (folder / name).is_file()]
    return hashlib.sha256("\0".join(f"{name} {file_sha256(folder / name)}" for name in present).encode()).hexdigest()


def check_content(folder: Path, kind: AdapterKind, sha256: str, lane_sha256: str) -> None:
    """Raises RefusedArtifact unless a version's folder is as it was published. An empty hash is not looked at."""
    lane_whole = not lane_sha256 or file_sha256(folder / LANE_FILE) == lane_sha256
    if sha256 and not (content_hash(folder, kind) == sha256 and lane_whole):
        raise RefusedArtifact(f"the files of {folder.parent.name}@{folder.name} were changed or damaged on disk")
