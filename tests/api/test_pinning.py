"""Pinned adapters and what the engine shows of its memory, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from adapters.base_model import BaseModelInfo
from ragtune.settings import Settings
from service.engine.client import EngineClient
from service.parts import Parts
from service.pinning import pin_all
from tests.api.conftest import Call, Make
from tests.api.test_resource_routes import Error, put_adapter
from tests.fakes import EchoEngine

BODY = {"content-type": "application/json"}


async def pinned(client: httpx.AsyncClient) -> list[str]:
    return [key.partition("#")[0] for key in (await client.get("/v1/engine")).json()["pinned"]]


async def test_a_pinned_name_follows_its_current_version_and_survives_a_restart(
    client: httpx.AsyncClient, parts: Parts, make_parts: Make, call: Call, peft_folders: Path
) -> None:
    await put_adapter(client, "staying", peft_folders / "my-lora")
    assert (await client.put("/v1/adapters/staying/pin", json={})).json() == {"name": "staying", "pinned": True}
    first = (await client.get("/v1/engine")).json()["pinned"]
    await put_adapter(client, "staying", peft_folders / "other-lora")
    second = (await client.get("/v1/engine")).json()["pinned"]
    assert len(first) == len(second) == 1 and first != second
    await client.post("/v1/adapters/staying/rollback", json={})
    assert (await client.get("/v1/engine")).json()["pinned"] == first
    restarted = make_parts(EchoEngine())
    await pin_all(restarted)
    async with call(restarted) as later:
        assert (await later.get("/v1/engine")).json()["pinned"] == first
        assert (await later.delete("/v1/adapters/staying/pin")).json()["pinned"] is False
        assert await pinned(later) == []
    await client.delete("/v1/adapters/staying")


async def test_deleting_a_pinned_adapter_unpins_its_name(client: httpx.AsyncClient, peft_folders: Path) -> None:
    for _ in range(2):
        await put_adapter(client, "passing-by", peft_folders / "my-lora")
        assert await pinned(client) == []
        await client.put("/v1/adapters/passing-by/pin", json={})
        await client.delete("/v1/adapters/passing-by")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_name_nobody_knows_cannot_be_pinned(client: httpx.AsyncClient, method: str) -> None:
    error = Error.of(await client.request(method, "/v1/adapters/nobody/pin", json={}))
    assert (error.status, error.code) == (404, "unknown_name")


@pytest.fixture
async def narrow(make_parts: Make, settings: Settings, base: BaseModelInfo) -> AsyncIterator[Parts]:
    """Parts over a real engine with room for one small LoRA and little else."""
    limits = {"threads": 1, "kv_tokens": 4096, "max_model_len": 512, "adapter_memory": 60_000}
    engine = await EngineClient.start(settings.model_copy(update=limits), base.folder)
    yield make_parts(engine)
    await engine.close()


async def test_what_does_not_fit_beside_the_pinned_is_refused_and_stays_unpinned(narrow: Parts, call: Call) -> None:
    async with call(narrow) as client:
        assert (await client.put("/v1/adapters/other-lora/pin", json={})).status_code == 200
        error = Error.of(await client.put("/v1/adapters/my-lora/pin", json={}))
        assert (error.status, error.code) == (422, "refused_artifact") and "RAGTUNE_ADAPTER_MEMORY" in error.message
        memory = (await client.get("/v1/engine")).json()
        assert memory["adapter_bytes"] <= memory["adapter_budget"] == 60_000
        assert await pinned(client) == ["other-lora"] == narrow.adapters.pinned.names()
        await client.delete("/v1/adapters/other-lora/pin")


async def test_a_service_whose_engine_is_gone_keeps_what_was_published_and_the_pin(
    make_parts: Make, call: Call, peft_folders: Path
) -> None:
    engine = EchoEngine()
    parts = make_parts(engine)
    async with call(parts) as client:
        for folder in ("my-lora", "other-lora"):
            await put_adapter(client, "holding", peft_folders / folder)
        await client.put("/v1/adapters/holding/pin", json={})
        await engine.close()
        assert (await client.post("/v1/adapters/holding/rollback", json={})).json()["version"] == "holding@1"
        assert parts.adapters.pinned.names() == ["holding"]
    await asyncio.to_thread(parts.adapters.pinned.remove, "holding")
    parts.adapters.remove("holding")
