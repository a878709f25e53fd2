"""/v1/models: what can be asked for."""

import time
from contextlib import suppress
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as PathParameter

from ragtune.errors import RagtuneError
from service.access import needs
from service.documented import refusals
from service.openai.responses import ModelCard, ModelList
from service.parts import Parts

ModelId = Annotated[
    str,
    PathParameter(description="a mode, the base model's id, or the embedding model's", examples=["support-lora+rag"]),
]


def router(parts: Parts) -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["openai"])
    started = int(time.time())

    @routes.get("/v1/models", dependencies=[needs("query")])
    async def models() -> ModelList:
        """The base model, every adapter, index and template, which can be combined with '+'; aliases for whole modes;
        the embedding model."""
        return ModelList(data=_cards(parts, started))

    @routes.get("/v1/models/{id:path}", dependencies=[needs("query")], responses=refusals(400, 404, 422))
    async def model(id: ModelId) -> ModelCard:  # noqa: A002 - the name in the OpenAI API
        """One of them, or any combination; 404 with near matches if a part of it is unknown."""
        for card in _cards(parts, started):
            if card.id == id:
                return card
        configuration = parts.catalog.resolve(id)
        return _card(parts, id, "combination", started, configuration.mode)

    return routes


def _cards(parts: Parts, started: int) -> list[ModelCard]:
    base = [_card(parts, name, "base", started, parts.base.id) for name in (parts.base.id, "base")]
    cards = [
        ModelCard(
            id=version.name,
            created=_seconds(version.created),
            root=str(version),
            parent=parts.base.id,
            max_model_len=parts.engine.info.max_model_len,
            kind=version.manifest.kind,
        )
        for version in parts.adapters.current()
    ]
    for prefix, kind, versions in (
        ("prompt:", "template", parts.templates.versions.current()),
        ("rag:", "index", parts.indexes.versions.current()),
    ):
        cards += [_card(parts, prefix + v.name, kind, _seconds(v.created), f"{prefix}{v}") for v in versions]
    for alias in parts.catalog.aliases.all():
        with suppress(RagtuneError):  # one whose adapter or index was deleted cannot be asked for
            mode = parts.catalog.resolve(alias.name).mode
            cards.append(_card(parts, alias.name, "alias", _seconds(alias.moved), mode))
    embedder = _card(parts, parts.retriever.embedder.id, "embedding", started, parts.retriever.embedder.id)
    embedder.parent, embedder.max_model_len = None, parts.retriever.embedder.window
    return [*base, *cards, embedder]


def _card(parts: Parts, name: str, kind: str, created: int, root: str) -> ModelCard:
    window = parts.engine.info.max_model_len
    parent = None if name in (parts.base.id, "base") else parts.base.id
    return ModelCard(id=name, created=created, root=root, parent=parent, max_model_len=window, kind=kind)  # type: ignore[arg-type]


def _seconds(created: str) -> int:
    return int(datetime.fromisoformat(created).timestamp())
