"""An embedder whose vectors can be computed by eye, in a module that brings no model libraries with it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.embedding import Vectors


@dataclass(frozen=True)
class LetterEmbedder:
    """A text's vector counts its letters a to z (and, in the last place, anything else), scaled to length 1."""

    id: str = "letters"
    fingerprint: str = "letters-1"
    dimension: int = 27
    window: int = 64

    def count(self, text: str) -> int:
        """Words."""
        return len(text.split())

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where the words lie."""
        return [match.span() for match in re.finditer(r"\S+", text)]

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        """(len(texts), 27)."""
        vectors = np.zeros((len(texts), 27), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for letter in text.lower():
                row[ord(letter) - 97 if "a" <= letter <= "z" else 26] += 1
            row /= np.linalg.norm(row) or 1.0
        if advance is not None:
            advance(len(texts))
        return vectors
