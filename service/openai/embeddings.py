"""/v1/embeddings: vectors of the embedding model that the indexes are built with."""

import asyncio
import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from indexer.embedding import Vectors
from ragtune.errors import ContextLengthExceeded, DeadlineExceeded, InvalidRequest, Overloaded, UnknownName
from ragtune.wire import Count
from service.access import needs
from service.border import note
from service.disconnect import unless_gone
from service.documented import refusals
from service.openai.requests import refuse_known
from service.parts import Parts

_MOST = 2048  # texts a request, as at OpenAI
_TURN = 32  # texts embedded before others may have the model: a search waits for one turn at most
_NOT_HERE: dict[str, tuple[Any, ...]] = {
    "add_special_tokens": (True,),
    "embd_normalize": (2,),
    "embed_dtype": ("float32",),
    "endianness": ("native", "little"),
    "input_type": (),
    "messages": (),
    "normalize": (True,),
    "priority": (0,),
    "truncate_prompt_tokens": (),
}


class EmbeddingRequest(BaseModel):
    """POST /v1/embeddings. Text only: ids of another tokenizer would give vectors that mean nothing."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"model": "all-MiniLM-L6-v2", "input": ["How long is the warranty?"]}]},
    )

    model: str = Field(min_length=1, max_length=512, description="the embedding model's name, as /v1/models lists it")
    input: StrictStr | Annotated[list[StrictStr | StrictInt | list[StrictInt]], Field(min_length=1, max_length=_MOST)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = Field(default=None, ge=1, lt=2**31, description="the model's own number, or absent")
    user: str | None = None

    def texts(self) -> list[str]:
        """Always a list. Raises InvalidRequest for token ids and for an empty text."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not all(isinstance(text, str) for text in texts):
            raise InvalidRequest(
                "send texts, not token ids (in LangChain: check_embedding_ctx_length=False)", param="input"
            )
        if not all(texts):
            raise InvalidRequest("an input is empty", param="input")
        return [str(text) for text in texts]


class Embedding(BaseModel):
    """One vector of length 1: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens of the embedding model, its special tokens not counted."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The answer of /v1/embeddings, in the order of the input."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
                    "model": "all-MiniLM-L6-v2",
                    "usage": {"prompt_tokens": 6, "total_tokens": 6},
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


def router(parts: Parts) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["openai"])
    embedding = _Queue(parts)

    @routes.post("/v1/embeddings", dependencies=[needs("query")], responses=refusals(400, 404, 413, 429, 504))
    async def embeddings(body: EmbeddingRequest, request: Request) -> EmbeddingList:
        """Embed texts with the model that retrieval uses."""
        refuse_known(body.model_extra, _NOT_HERE)
        embedder = parts.retriever.embedder
        if body.model != embedder.id:
            raise UnknownName.among("embedding model", body.model, [embedder.id], param="model")
        if body.dimensions not in (None, embedder.dimension):
            raise InvalidRequest(f"this model's vectors have {embedder.dimension} dimensions", param="dimensions")
        texts = body.texts()
        vectors, tokens = await unless_gone(request, embedding.run(texts))
        note(request, prompt_tokens=tokens, texts=len(texts))
        as_base64 = body.encoding_format == "base64"
        data = [Embedding(index=i, embedding=_encoded(vector, as_base64)) for i, vector in enumerate(vectors)]
        return EmbeddingList(
            data=data, model=embedder.id, usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
        )

    return routes


class _Queue:
    """One request's turn at a time, so that embedding many texts neither floods the threads nor starves searches."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def run(self, texts: list[str]) -> tuple[Vectors, int]:
        """(len(texts), dimension) vectors, and the tokens they took."""
        if self._waiting > self._parts.settings.max_waiting:
            raise Overloaded(f"{self._waiting} requests for embeddings are waiting; try again shortly")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._parts.settings.deadline):
                turns = [await self._embed(texts, at) for at in range(0, len(texts), _TURN)]
        except TimeoutError as error:
            raise DeadlineExceeded(f"not done within {self._parts.settings.deadline:g} s") from error
        finally:
            self._waiting -= 1
        return np.concatenate([vectors for vectors, _ in turns]), sum(tokens for _, tokens in turns)

    async def _embed(self, texts: list[str], at: int) -> tuple[Vectors, int]:
        async with self._turn:
            return await asyncio.to_thread(self._checked, texts[at : at + _TURN], at)

    def _checked(self, texts: list[str], at: int) -> tuple[Vectors, int]:
        counts, window = self._parts.retriever.count(texts), self._parts.retriever.embedder.window
        for index, count in enumerate(counts, start=at):
            if count > window:
                raise ContextLengthExceeded(
                    f"input {index} has {count} tokens, this model reads {window}; cut it into passages", param="input"
                )
        return self._parts.retriever.embed(texts), sum(counts)


def _encoded(vector: Vectors, as_base64: bool) -> list[float] | str:
    if as_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    floats: list[float] = vector.tolist()
    return floats
