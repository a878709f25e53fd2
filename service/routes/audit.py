"""/v1/audit: who changed something, or tried to."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from ragtune.audit import Entry
from service.access import needs
from service.documented import refusals
from service.parts import Parts

Limit = Annotated[int, Query(ge=1, le=1000, description="entries at most")]
Before = Annotated[int | None, Query(ge=1, description="only entries older than the one with this number")]


def router(parts: Parts) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["audit"])

    @routes.get("/v1/audit", dependencies=[needs("admin")], responses=refusals(400))
    async def audit(limit: Limit = 100, before: Before = None) -> list[Entry]:
        """What was changed, or refused, over HTTP or by commands; newest first."""
        return await asyncio.to_thread(parts.audit.newest, limit, before)

    return routes
