"""How alike texts are by meaning: cosines of the vectors that the service's own embedding model makes of them.

Through `/v1/embeddings`, so the same model that retrieval uses. It reads a window (256 tokens for the embedded one) and
refuses what is longer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from eval.client import Service
from eval.opinion import Opinion
from eval.runfile import Server
from ragtune.errors import Unavailable

AT_ONCE = 64  # texts a request
Vector = NDArray[np.float64]


def embedding_model(server: Server | None) -> str:
    """The service's embedding model. Raises Unavailable if it offers none."""
    names = [model.root for model in server.models if model.kind == "embedding"] if server else []
    if not names:
        raise Unavailable("the service offers no embedding model; leave embedding_similarity out of the metrics")
    return names[0]


async def similarity(service: Service, model: str, text: str, answers: Sequence[str]) -> Opinion:
    """The cosine of a text with the nearest of the `answers`, -1 to 1; 0 for a text without a letter.

    There is none where the text or all answers are too long for the model. Raises Unavailable if the service is gone.
    """
    if not text.strip():
        return Opinion(0.0)
    asked = _Asked(service, model)
    texts = list(dict.fromkeys((text, *answers)))
    for at in range(0, len(texts), AT_ONCE):
        await asked.embed(texts[at : at + AT_ONCE])
    if asked.error is not None:
        return Opinion(error=asked.error, retries=asked.retries)
    return Opinion(_nearest(text, answers, asked.vectors), retries=asked.retries)


@dataclass
class _Asked:
    """Vectors by text, and why others could not be had."""

    service: Service
    model: str
    vectors: dict[str, Vector] = field(default_factory=dict)
    retries: int = 0
    error: str | None = None

    async def embed(self, texts: Sequence[str]) -> None:
        """Of a batch that is refused each text is asked for alone; one that is refused alone has no vector."""
        body: dict[str, object] = {"model": self.model, "input": list(texts)}
        said, outcome = await self.service.post("/v1/embeddings", body, _Embeddings)
        self.retries += outcome.retries
        if outcome.refused:
            for text in texts if len(texts) > 1 else ():
                await self.embed([text])
        elif said is None or len(said.data) != len(texts):
            self.error = outcome.error or "not as many vectors as texts"
        else:
            vectors = sorted(said.data, key=lambda one: one.index)
            self.vectors |= {text: np.asarray(one.embedding) for text, one in zip(texts, vectors, strict=True)}


def _nearest(text: str, answers: Iterable[str], vectors: Mapping[str, Vector]) -> float | None:
    if text not in vectors:
        return None
    cosines = [_cosine(vectors[text], vectors[answer]) for answer in answers if answer in vectors]
    return max(cosines, default=None)


def _cosine(first: Vector, second: Vector) -> float:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.clip(first @ second / lengths, -1, 1)) if lengths else 0.0


class _Embedding(BaseModel):
    index: int
    embedding: list[float]


class _Embeddings(BaseModel):
    data: tuple[_Embedding, ...]
