"""/v1/load_lora_adapter and /v1/unload_lora_adapter: what programs written for vLLM send and expect."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.api.test_resource_routes import Error, mode_of


async def load(client: httpx.AsyncClient, name: object, path: object, **more: Any) -> httpx.Response:
    body = {"lora_name": name, "lora_path": str(path) if isinstance(path, Path) else path, **more}
    return await client.post("/v1/load_lora_adapter", json=body)


async def unload(client: httpx.AsyncClient, name: str, **more: Any) -> httpx.Response:
    return await client.post("/v1/unload_lora_adapter", json={"lora_name": name, **more})


async def test_an_adapter_is_loaded_used_and_unloaded_and_each_time_one_sentence_says_so(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path
) -> None:
    loaded = await load(client, "from-vllm", peft_folders / "my-lora")
    assert (loaded.status_code, loaded.text) == (200, "Success: LoRA adapter 'from-vllm' added successfully.")
    assert loaded.headers["content-type"].startswith("text/plain")
    assert await mode_of(client, "from-vllm+rag") == "from-vllm@1+rag:handbook@1"
    assert "from-vllm" in [model["id"] for model in (await client.get("/v1/models")).json()["data"]]
    gone = await unload(client, "from-vllm", lora_int_id=7)
    assert (gone.status_code, gone.text) == (200, "Success: LoRA adapter 'from-vllm' removed successfully.")
    assert gone.headers["content-type"].startswith("text/plain")
    assert not any("from-vllm" in key for key in (await parts.engine.stats()).adapters)
    assert (await client.get("/v1/adapters/from-vllm")).status_code == 404
    assert (await load(client, "from-vllm", peft_folders / "my-lora")).status_code == 200  # and may come back
    await unload(client, "from-vllm")


async def test_a_name_that_is_loaded_is_a_400_and_in_place_a_new_version(
    client: httpx.AsyncClient, peft_folders: Path
) -> None:
    await load(client, "twice-loaded", peft_folders / "my-lora")
    error = Error.of(await load(client, "twice-loaded", peft_folders / "other-lora"))
    assert (error.status, error.code, error.param) == (400, "invalid_request", "lora_name")
    assert "already been loaded" in error.message and "load_inplace" in error.message
    assert await mode_of(client, "twice-loaded") == "twice-loaded@1"
    again = await load(client, "twice-loaded", peft_folders / "other-lora", load_inplace=True)
    assert again.text == "Success: LoRA adapter 'twice-loaded' added successfully."
    assert await mode_of(client, "twice-loaded") == "twice-loaded@2"
    await unload(client, "twice-loaded")


async def test_of_two_loads_of_a_name_at_once_one_is_told_it_is_there(
    client: httpx.AsyncClient, peft_folders: Path
) -> None:
    both = await asyncio.gather(*(load(client, "raced", peft_folders / "my-lora") for _ in range(2)))
    assert sorted(response.status_code for response in both) == [200, 400]
    assert (await unload(client, "raced")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"lora_path": "/x"},
        {"lora_name": "x"},
        {"lora_name": "", "lora_path": "/x"},
        {"lora_name": "x", "lora_path": ""},
        {"lora_name": None, "lora_path": "/x"},
        {"lora_name": "x", "lora_path": "/x", "is_3d_lora_weight": True},
        {"lora_name": "x", "lora_path": "/x", "load_inplace": "perhaps"},
    ],
)
async def test_a_field_that_is_missing_empty_or_wrong_is_a_400_that_names_it(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    error = Error.of(await client.post("/v1/load_lora_adapter", json=body))
    assert (error.status, error.code) == (400, "invalid_request")
    assert error.param in ("lora_name", "lora_path", "is_3d_lora_weight", "load_inplace")


async def test_fields_nobody_knows_are_ignored(client: httpx.AsyncClient, peft_folders: Path) -> None:
    body = {"base_model_name": "x", "is_3d_lora_weight": False}
    assert (await load(client, "more-fields", peft_folders / "my-lora", **body)).status_code == 200
    assert (await unload(client, "more-fields", more=1)).status_code == 200


@pytest.mark.parametrize("path", ["{root}/nothing-here", "{root}", "{root}/my-lora/adapter_config.json"])
async def test_a_path_where_no_adapter_lies_is_a_404(client: httpx.AsyncClient, peft_folders: Path, path: str) -> None:
    error = Error.of(await load(client, "nowhere", path.format(root=peft_folders)))
    assert (error.status, error.code, error.param) == (404, "unknown_name", "lora_path")
    assert "no adapter found" in error.message


@pytest.mark.parametrize("path", ["/etc", "/etc/nothing-here", "{root}/../x"])
async def test_a_path_outside_the_allowed_roots_is_a_403_whatever_lies_there(
    client: httpx.AsyncClient, peft_folders: Path, path: str
) -> None:
    error = Error.of(await load(client, "outside", path.format(root=peft_folders)))
    assert (error.status, error.code, error.param) == (403, "forbidden", "lora_path")
    assert "RAGTUNE_ADAPTER_ROOTS" in error.message


async def test_a_path_that_is_not_absolute_is_a_repository_of_the_hub(
    client: httpx.AsyncClient, call: Call, make_parts: Make, cached_hub: Path
) -> None:
    error = Error.of(await load(client, "hubbed", "someone/support-lora"))
    assert (error.status, error.param) == (403, "lora_path")
    assert "RAGTUNE_HUB_ADAPTERS=true" in error.message
    async with call(make_parts(hub_adapters=True)) as other:
        assert (await load(other, "hubbed", "someone/support-lora")).status_code == 200
        assert Error.of(await load(other, "hubbed-2", "../support-lora")).status == 422
        missing = Error.of(await load(other, "hubbed-2", "someone/other"))
        assert (missing.status, missing.code) == (404, "unknown_name")
        assert "someone/other cannot be had from the hub" in missing.message
        assert (await unload(other, "hubbed")).status_code == 200


async def test_a_broken_adapter_is_a_422_with_the_reason(
    client: httpx.AsyncClient, peft_folders: Path, tmp_path: Path
) -> None:
    (folder := peft_folders / "hollow").mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    error = Error.of(await load(client, "hollow", folder))
    assert (error.status, error.code) == (422, "refused_artifact")
    assert "adapter_model.safetensors" in error.message


@pytest.mark.parametrize("name", ["Upper", "base", "a/b", "a b", "x" * 65])
async def test_a_name_that_no_mode_can_say_is_a_400(client: httpx.AsyncClient, peft_folders: Path, name: str) -> None:
    error = Error.of(await load(client, name, peft_folders / "my-lora"))
    assert (error.status, error.code, error.param) == (400, "invalid_request", "lora_name")


async def test_an_unknown_name_cannot_be_unloaded(client: httpx.AsyncClient) -> None:
    error = Error.of(await unload(client, "my-lroa"))
    assert (error.status, error.code) == (404, "unknown_name")
    assert "did you mean 'my-lora'" in error.message
    assert Error.of(await client.post("/v1/unload_lora_adapter", json={})).param == "lora_name"
