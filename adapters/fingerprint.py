"""What makes two copies of a base model the same: a hash over the configuration that matters and all weight files.

Hashing half a gigabyte takes a second, so the result is kept in the cache folder together with the size and time of
every file it was made from; if any of them changed, it is made anew.
"""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ValidationError

# These say how a model was saved or is run, not what it computes.
VOLATILE = frozenset(
    {"_name_or_path", "_model_name_or_path", "transformers_version", "use_cache", "dtype", "torch_dtype"}
)


class _Remembered(BaseModel):
    """A fingerprint and the files (name, size, time in ns) it was made from."""

    files: list[tuple[str, int, int]]
    fingerprint: str


def fingerprint_of(folder: Path, cache: Path) -> str:
    """SHA-256 (hex) over the essential configuration and the content of the weight files of a model folder."""
    files = [folder / "config.json", *weight_files(folder)]
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    place = cache / "fingerprints" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.json"
    remembered = _read(place)
    if remembered is not None and remembered.files == seen:
        return remembered.fingerprint
    fingerprint = _compute(files[0], files[1:])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(_Remembered(files=seen, fingerprint=fingerprint).model_dump_json(), encoding="utf-8")
    return fingerprint


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, sorted by name."""
    return sorted(folder.glob("*.safetensors"))


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read(place: Path) -> _Remembered | None:
    try:
        return _Remembered.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None  # not made yet, or torn by a crash: computing it again is always right


def _compute(config: Path, weights: list[Path]) -> str:
    values = json.loads(config.read_text(encoding="utf-8"))
    essential = {name: value for name, value in values.items() if name not in VOLATILE}
    digest = hashlib.sha256(json.dumps(essential, sort_keys=True).encode())
    for path in weights:
        digest.update(f"\0{path.name}\0{file_sha256(path)}".encode())
    return digest.hexdigest()
