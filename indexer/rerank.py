"""Reranking: a cross-encoder reads the query with each passage found, and orders them anew.

One setting turns it on, RAGTUNE_RERANKER: a hub id or a folder. The model is loaded when the first search needs it.
"""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ragtune.errors import Unavailable
from ragtune.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_BATCH = 32
_WHAT_TO_DO = "set RAGTUNE_RERANKER to a cross-encoder's hub id or folder, or leave it empty"


class TextReranker(Protocol):
    """What a search needs of a reranker."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query: higher is better. Raises Unavailable if it cannot be had."""


class Reranker:
    """A sentence-transformers cross-encoder. Safe to use from several threads: one lock guards its tokenizer."""

    def __init__(self, model: str, *, device: str | None = None) -> None:
        self._name = model
        self._device = device
        self._lock = threading.Lock()

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """The model's score of each text; between 0 and 1 with most models of one label."""
        if not texts:
            return []
        with self._lock:
            found = self._model.predict([(query, text) for text in texts], batch_size=_BATCH, show_progress_bar=False)
        return [float(score) for score in found]

    @cached_property
    def _model(self) -> "CrossEncoder":
        from sentence_transformers import CrossEncoder  # seconds to import; only those who rerank pay

        path = Path(self._name).expanduser()
        local = path.is_dir()
        try:
            model = CrossEncoder(str(path) if local else self._name, device=self._device, local_files_only=local)
        except (OSError, ValueError, RuntimeError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise Unavailable(f"the reranker {self._name} cannot be loaded: {reason}; {_WHAT_TO_DO}") from error
        made_as = model.config.architectures or []
        if model.config.num_labels != 1 or not any(name.endswith("ForSequenceClassification") for name in made_as):
            # transformers would put random weights where a head is missing, and say so in a warning only
            raise Unavailable(f"{self._name} is no reranker, as it does not give a pair one score; {_WHAT_TO_DO}")
        return model


def load_reranker(settings: Settings) -> Reranker | None:
    """The reranker these settings name, not loaded yet; None if they name none."""
    device = None if settings.device == "auto" else settings.device
    return Reranker(settings.reranker, device=device) if settings.reranker else None
