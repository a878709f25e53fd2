"""/v1/engine: what is in memory, and how much of it is used."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.access import needs
from service.parts import Parts


class Memory(BaseModel):
    """A snapshot between two steps of the engine."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "running": 2,
                    "waiting": 0,
                    "adapters": ["support-lora#0f3a"],
                    "pinned": [],
                    "adapter_bytes": 19546112,
                    "adapter_budget": 2147483648,
                    "stacked_bytes": 0,
                    "evictions": 0,
                    "kv_blocks_used": 12,
                    "kv_blocks_total": 2048,
                    "cached_blocks": 40,
                    "steps": 1200,
                }
            ]
        }
    )

    running: int = Field(description="generations in the batch")
    waiting: int = Field(description="generations queued")
    adapters: list[str] = Field(description="in memory, least recently used first: name#hash of the content")
    pinned: list[str] = Field(description="those that stay")
    adapter_bytes: int = Field(description="what the adapters in memory take")
    adapter_budget: int = Field(description="what they may take, RAGTUNE_ADAPTER_MEMORY")
    stacked_bytes: int = Field(description="copies made for products over several adapters at once; they go with them")
    evictions: int = Field(description="adapters that had to make room, since the start")
    kv_blocks_used: int
    kv_blocks_total: int
    cached_blocks: int = Field(description="KV blocks that nobody uses and that may still be taken over")
    steps: int


def router(parts: Parts) -> APIRouter:
    """The one route."""
    routes = APIRouter(tags=["engine"])

    @routes.get("/v1/engine", dependencies=[needs("admin")])
    async def engine() -> Memory:
        """What the engine has in memory now, and how busy it is: with all tenants, so it is for admins."""
        return Memory.model_validate(await parts.engine.stats(), from_attributes=True)

    return routes
