"""An adapter's weights as they lie in its safetensors file: names, shapes, types and bytes, without torch.

NumPy has no bfloat16, so finiteness is read from the bits: a float is NaN or infinite when its exponent is all ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from ragtune.errors import RefusedArtifact

WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_EXPONENT: Mapping[str, tuple[type[np.unsignedinteger], int]] = {
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F80_0000),
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor: shape, safetensors dtype name, and its little-endian bytes."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def is_finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        word, exponent = _EXPONENT[self.dtype]
        bits = np.frombuffer(self.data, dtype=word)
        return not bool(((bits & word(exponent)) == exponent).any())


def read_stored(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of an adapter folder, all finite floats.

    Raises RefusedArtifact if there is no safetensors file, if it is something else under that name, or if it holds
    anything but finite floating-point numbers.
    """
    path = weights_path(folder)
    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise RefusedArtifact(f"{WEIGHTS_FILE} is not a safetensors file, or is cut short: {error}") from error
    tensors = {name: StoredTensor(tuple(e["shape"]), str(e["dtype"]), bytes(e["data"])) for name, e in entries}
    for name, tensor in tensors.items():
        if tensor.dtype not in _EXPONENT:
            raise RefusedArtifact(f"{WEIGHTS_FILE}: {name} is of type {tensor.dtype}; expected F16, BF16, F32 or F64")
        if not tensor.is_finite():
            raise RefusedArtifact(f"{WEIGHTS_FILE}: {name} holds NaN or infinite values; the training went wrong")
    return tensors


def weights_path(folder: Path) -> Path:
    """The weights file of an adapter folder. Raises RefusedArtifact if there is none."""
    path = folder / WEIGHTS_FILE
    if path.is_file():
        return path
    pickles = sorted(found.name for pattern in _PICKLES for found in folder.glob(pattern))
    if pickles:
        raise RefusedArtifact(
            f"{folder} has its weights as {pickles[0]}, a pickle, and reading a pickle runs code of whoever made it; "
            "save it again with safe_serialization=True"
        )
    raise RefusedArtifact(f"no {WEIGHTS_FILE} in {folder}; the adapter has no weights")


def parameter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a model folder by name, read from the headers of its safetensors files.

    Raises RefusedArtifact if a file is no safetensors file or is cut short.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as stored:
                shapes |= {key: tuple(stored.get_slice(key).get_shape()) for key in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise RefusedArtifact(f"{path.name} is not a safetensors file, or is cut short: {error}") from error
    return shapes
