"""How alike texts are by meaning: cosines of the vectors that the service's own embedding model makes of them.

Through `/v1/embeddings`, so the same model that retrieval uses. It reads a window (256 tokens for the embedded one) and
refuses what is longer.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from ragtune.errors import Unavailable

AT_ONCE = 64  # texts a request
RETRIES = 5
LONGEST_WAIT = 30.0  # seconds, whatever Retry-After says
_BUSY = (429, 503)
_REFUSED = 400  # one text of the batch is too long
Vector = NDArray[np.float64]


async def embedding_model(client: httpx.AsyncClient) -> str:
    """The name of the service's embedding model; `client` has the service's URL as its base.

    Raises Unavailable if it offers none.
    """
    try:
        response = await client.get("/v1/models")
        offered = _Models.model_validate_json(response.content).data
    except (httpx.HTTPError, ValidationError) as error:
        raise Unavailable(f"{client.base_url} does not list its models; embedding_similarity needs one") from error
    names = [card.id for card in offered if card.kind == "embedding"]
    if not names:
        raise Unavailable(f"{client.base_url} offers no embedding model; leave embedding_similarity out of the metrics")
    return names[0]


async def similarities(
    client: httpx.AsyncClient, model: str, texts: Sequence[str], answers: Sequence[Sequence[str]]
) -> list[float | None]:
    """For each text the cosine with the nearest of its `answers`, -1 to 1; 0 for a text without a letter.

    None where it could not be had: the text or all its answers are too long for the model, or the service gave no
    vectors, after an overload was waited out RETRIES times.
    """
    wanted = dict.fromkeys(text for text in (*texts, *(one for some in answers for one in some)) if text.strip())
    vectors: dict[str, Vector] = {}
    for batch in _batches(list(wanted)):
        vectors |= await _embedded(client, model, batch)
    return [_nearest(text, some, vectors) for text, some in zip(texts, answers, strict=True)]


def _nearest(text: str, answers: Iterable[str], vectors: Mapping[str, Vector]) -> float | None:
    if not text.strip():
        return 0.0
    if text not in vectors:
        return None
    cosines = [_cosine(vectors[text], vectors[answer]) for answer in answers if answer in vectors]
    return max(cosines, default=None)


def _cosine(first: Vector, second: Vector) -> float:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.clip(first @ second / lengths, -1, 1)) if lengths else 0.0


async def _embedded(client: httpx.AsyncClient, model: str, texts: Sequence[str]) -> dict[str, Vector]:
    """The vectors of those texts that have one. Of a refused batch each text is asked for alone."""
    response = await _post(client, {"model": model, "input": list(texts)})
    if response is not None and response.status_code == _REFUSED and len(texts) > 1:
        alone = [await _embedded(client, model, [text]) for text in texts]
        return {text: vector for found in alone for text, vector in found.items()}
    if response is None or response.is_error:
        return {}
    try:
        data = sorted(_Embeddings.model_validate_json(response.content).data, key=lambda one: one.index)
    except ValidationError:
        return {}
    return dict(zip(texts, (np.asarray(one.embedding) for one in data), strict=True)) if len(data) == len(texts) else {}


async def _post(client: httpx.AsyncClient, body: Mapping[str, object]) -> httpx.Response | None:
    for retries in range(RETRIES + 1):
        try:
            response = await client.post("/v1/embeddings", json=body)
        except httpx.HTTPError:
            return None
        if response.status_code not in _BUSY or retries == RETRIES:
            break
        await asyncio.sleep(_wait(response))
    return response


def _wait(response: httpx.Response) -> float:
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 1.0


def _batches(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[at : at + AT_ONCE] for at in range(0, len(texts), AT_ONCE)]


class _Card(BaseModel):
    id: str
    kind: str = ""


class _Models(BaseModel):
    data: tuple[_Card, ...]


class _Embedding(BaseModel):
    index: int
    embedding: list[float]


class _Embeddings(BaseModel):
    data: tuple[_Embedding, ...]
