"""What a build has embedded so far, kept so that one that is ended goes on where it was.

A file of records, each a passage's key and its vector, only appended to. A record that a crash has cut off is dropped,
and with it whatever follows. Beside it stands how many seconds went into them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexer.embedding import Vectors

_KEY = 32  # hex digits of a passage's key
_FOLDER = ".partial"  # beside the versions' folders, where nobody takes it for one


def discard_partial(root: Path, index: str) -> None:
    """Forget what ended builds of an index have embedded, with whichever model."""
    for path in (root / _FOLDER).glob("*.vectors"):
        if path.name.rpartition("-")[0] == index:
            path.unlink(missing_ok=True)
            _spent(path).unlink(missing_ok=True)


class Partial:
    """The vectors embedded so far for one index with one embedding model."""

    def __init__(self, root: Path, index: str, fingerprint: str, dimension: int) -> None:
        self._path = root / _FOLDER / f"{index}-{fingerprint[:16]}.vectors"
        self._record = np.dtype([("key", f"S{_KEY}"), ("vector", np.float32, (dimension,))])

    def load(self) -> dict[str, Vectors]:
        """(dimension,) vectors by key."""
        try:
            with self._path.open("r+b") as file:
                size = file.seek(0, 2)
                file.truncate(size - size % self._record.itemsize)
            records = np.fromfile(self._path, dtype=self._record)
        except FileNotFoundError:
            return {}
        whole = np.isclose(np.linalg.norm(records["vector"], axis=1), 1.0, atol=1e-3)
        return {record["key"].decode(): record["vector"] for record in records[whole]}

    @property
    def seconds(self) -> float:
        """What went into it so far; 0 if nothing did."""
        try:
            return float(_spent(self._path).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0.0

    def append(self, keys: Sequence[str], vectors: Vectors, seconds: float) -> None:
        """Write down (len(keys), dimension) vectors, and that `seconds` have gone into all there are."""
        records = np.empty(len(keys), dtype=self._record)
        records["key"], records["vector"] = [key.encode() for key in keys], vectors
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(records.tobytes())
        _spent(self._path).write_text(f"{seconds:.3f}", encoding="ascii")

    def discard(self) -> None:
        """Forget it: the vectors are in a version now."""
        self._path.unlink(missing_ok=True)
        _spent(self._path).unlink(missing_ok=True)


def _spent(vectors: Path) -> Path:
    return vectors.with_suffix(".seconds")
