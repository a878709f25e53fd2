"""/v1/modes: names like `best` that mean a whole mode."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from ragtune.errors import InvalidRequest, RagtuneError
from ragtune.mode_aliases import ModeAlias
from service.access import author, needs
from service.documented import NAMED, refusals
from service.parts import Parts
from service.routes.described import AUTHOR, GoesBack

Alias = Annotated[str, PathParameter(description="the name of an alias", examples=["best"])]


class NamedMode(BaseModel):
    """An alias for a mode: as it was written, and pinned as a request would have it now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "alias": "best",
                    "mode": "support-lora@2+rag",
                    "resolved_mode": "support-lora@2+rag:handbook@4",
                    "problem": None,
                    "moved": "2026-07-01T12:00:00+00:00",
                    "author": "",
                }
            ]
        }
    )

    alias: str
    mode: str
    resolved_mode: str | None = None
    problem: str | None = Field(default=None, description="why it cannot be had at the moment")
    moved: str = Field(description="since when it means this")
    author: str = Field(description=AUTHOR)

    @classmethod
    def of(cls, alias: ModeAlias, parts: Parts) -> "NamedMode":
        """As things are now."""
        resolved, problem = None, None
        try:
            resolved = parts.catalog.resolve(alias.name).mode
        except RagtuneError as error:  # an alias is shown also when what it means was deleted
            problem = error.message
        return cls(
            alias=alias.name,
            mode=alias.mode,
            resolved_mode=resolved,
            problem=problem,
            moved=alias.moved,
            author=alias.author,
        )


class FromMode(BaseModel):
    """The mode an alias is to mean."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"mode": "support-lora@2+rag"}]})

    mode: str = Field(min_length=1, max_length=512)


def router(parts: Parts) -> APIRouter:
    """/v1/modes."""
    routes = APIRouter(prefix="/v1/modes", tags=["modes"])

    @routes.get("", dependencies=[needs("query")])
    async def modes_list() -> list[NamedMode]:
        """All aliases for modes."""
        return [NamedMode.of(alias, parts) for alias in parts.catalog.aliases.all()]

    @routes.get("/{alias}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def modes_get(alias: Alias) -> NamedMode:
        """What an alias means."""
        return NamedMode.of(parts.catalog.aliases.get(alias), parts)

    @routes.put("/{alias}", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 413, 422, 507))
    async def modes_put(alias: Alias, body: FromMode, request: Request) -> NamedMode:
        """Let an alias mean a mode, which must be one that can be had now; requests in flight keep what they have."""
        flipped = await asyncio.to_thread(parts.catalog.set_alias, alias, body.mode, author(request))
        return NamedMode.of(flipped, parts)

    @routes.delete("/{alias}", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 507))
    async def modes_delete(alias: Alias) -> NamedMode:
        """Take an alias away; answers with what it meant."""
        gone = NamedMode.of(parts.catalog.aliases.get(alias), parts)
        await asyncio.to_thread(parts.catalog.aliases.remove, alias)
        return gone

    @routes.post("/{alias}/rollback", dependencies=[needs("adapters:write")], responses=refusals(*NAMED, 413, 422, 507))
    async def modes_rollback(alias: Alias, body: GoesBack) -> NamedMode:
        """Let an alias mean again what it meant before; answers with that. Again goes further back.

        A body is not needed; the alias stands in the path.
        """
        if body.alias is not None:
            raise InvalidRequest("which alias goes back stands in the path; send {} or no body", param="alias")
        return NamedMode.of(await asyncio.to_thread(parts.catalog.rollback_alias, alias), parts)

    return routes
