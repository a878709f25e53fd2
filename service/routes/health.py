"""/healthz, /readyz, and /health for clients of other servers."""

from fastapi import APIRouter
from pydantic import BaseModel

from ragtune.errors import Unavailable
from service.parts import Parts


class Health(BaseModel):
    """Alive, and what it is made of."""

    status: str = "ok"
    base: str
    note: str | None
    fingerprint: str
    device: str
    max_model_len: int
    deadline: float  # seconds a request may take, whatever it asks for
    running: int


def router(parts: Parts) -> APIRouter:
    """The three routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    async def healthz() -> Health:
        """The process answers."""
        return _health(parts)

    @routes.get("/readyz")
    async def readyz() -> Health:
        """New requests are taken; 503 while draining, or when the engine is gone."""
        if parts.lifecycle.draining:
            raise Unavailable("the service is shutting down")
        if not parts.engine.alive:
            raise Unavailable("the engine is not running; restart the service")
        return _health(parts)

    @routes.get("/health")
    async def health() -> Health:
        """As /readyz, by the name that clients of vLLM and llama.cpp ask for."""
        return await readyz()

    return routes


def _health(parts: Parts) -> Health:
    info = parts.engine.info
    return Health(
        base=parts.base.id,
        note=parts.base.note,
        fingerprint=parts.base.fingerprint,
        device=info.device,
        max_model_len=info.max_model_len,
        deadline=parts.settings.deadline,
        running=parts.engine.in_flight,
    )
