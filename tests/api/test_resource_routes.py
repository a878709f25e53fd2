"""Adapters, templates and indexes over HTTP: published by one request, used by the next."""

import asyncio
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.fakes import EchoEngine

TOML = {"content-type": "application/toml"}


async def mode_of(client: httpx.AsyncClient, mode: str) -> str:
    response = await client.post("/v1/query", json={"query": "Why?", "mode": mode})
    assert response.status_code == 200, response.text
    return str(response.json()["resolved_mode"])


class Error(BaseModel):
    """What matters of an error answer."""

    status: int
    code: str
    message: str
    param: str | None

    @classmethod
    def of(cls, response: httpx.Response) -> "Error":
        return cls(status=response.status_code, **response.json()["error"])


async def put_adapter(client: httpx.AsyncClient, name: str, path: Path | str) -> httpx.Response:
    return await client.put(f"/v1/adapters/{name}", json={"path": str(path)})


async def test_a_registered_adapter_is_loaded_listed_and_used_by_the_next_request(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path
) -> None:
    response = await put_adapter(client, "fresh", peft_folders / "my-lora")
    described = response.json()
    assert described.pop("ignored") == []
    assert (response.status_code, described["version"], described["current"]) == (200, "fresh@1", True)
    assert (described["manifest"]["kind"], described["manifest"]["base"]) == ("lora", "unverified")
    assert any(key.startswith("fresh#") for key in (await parts.engine.stats()).adapters)
    assert "fresh" in [adapter["name"] for adapter in (await client.get("/v1/adapters")).json()]
    assert (await client.get("/v1/adapters/fresh")).json() == described
    assert await mode_of(client, "fresh+rag") == "fresh@1+rag:handbook@1"


async def test_the_same_bytes_again_are_no_new_version_and_others_are(
    client: httpx.AsyncClient, peft_folders: Path
) -> None:
    for folder, version in (("my-lora", 1), ("my-lora", 1), ("other-lora", 2)):
        response = await put_adapter(client, "twice", peft_folders / folder)
        assert response.json()["version"] == f"twice@{version}"
    assert await mode_of(client, "twice") == "twice@2"
    assert await mode_of(client, "twice@1") == "twice@1"


async def test_a_deleted_adapter_is_gone_from_store_models_and_memory(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path
) -> None:
    await put_adapter(client, "brief-life", peft_folders / "my-lora")
    assert (await client.delete("/v1/adapters/brief-life")).json()["versions"] == ["brief-life@1"]
    assert not any("brief-life" in key for key in (await parts.engine.stats()).adapters)
    for response in (
        await client.get("/v1/adapters/brief-life"),
        await client.delete("/v1/adapters/brief-life"),
        await client.post("/v1/query", json={"query": "Why?", "mode": "brief-life"}),
    ):
        assert Error.of(response).code == "unknown_name"


async def test_a_request_in_flight_keeps_the_adapter_that_is_deleted_meanwhile(
    call: Call, make_parts: Make, peft_folders: Path
) -> None:
    engine = EchoEngine(pace=0.01)
    async with call(make_parts(engine)) as client:
        await put_adapter(client, "leaving", peft_folders / "my-lora")
        asked = asyncio.create_task(client.post("/v1/query", json={"query": "Why?", "mode": "leaving"}))
        while not engine.in_flight:
            await asyncio.sleep(0.001)
        deleted = await client.delete("/v1/adapters/leaving")
        assert (await asked).json()["text"] == "user\nWhy?"
        assert deleted.status_code == 200
        assert not (await engine.stats()).adapters


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/etc", 403, "forbidden"),
        ("{root}/..", 403, "forbidden"),
        ("relative/path", 400, "invalid_request"),
        ("{root}/nothing-here", 422, "refused_artifact"),
        ("{root}", 422, "refused_artifact"),
    ],
)
async def test_a_folder_that_may_not_or_cannot_be_read_is_refused(
    client: httpx.AsyncClient, peft_folders: Path, path: str, status: int, code: str
) -> None:
    error = Error.of(await put_adapter(client, "bad", path.format(root=peft_folders)))
    assert (error.status, error.code) == (status, code)
    assert (await client.get("/v1/adapters/bad")).status_code == 404


@pytest.mark.parametrize("path", ["a" * 300, "/".join(["a" * 200] * 25)])
async def test_a_path_that_no_file_can_have_is_a_400_on_every_route_that_takes_one(
    client: httpx.AsyncClient, peft_folders: Path, documents: Path, path: str
) -> None:
    lora = {"lora_name": "long", "lora_path": f"{peft_folders}/{path}"}
    for error in (
        Error.of(await put_adapter(client, "long", peft_folders / path)),
        Error.of(await client.post("/v1/load_lora_adapter", json=lora)),
        Error.of(await client.post("/v1/indexes/long/builds", json={"path": f"{documents.parent}/{path}"})),
    ):
        assert (error.status, error.code) == (400, "invalid_request")
        assert error.param in ("path", "lora_path")
        assert "File name too long" in error.message and "name a shorter one" in error.message


async def test_a_path_outside_the_roots_is_refused_as_that_whatever_it_is(
    client: httpx.AsyncClient, peft_folders: Path
) -> None:
    for path in ("/etc/" + "a" * 300, f"{peft_folders.parent}x/a"):
        assert Error.of(await put_adapter(client, "bad", path)).code == "forbidden"


async def test_a_link_out_of_the_allowed_root_is_refused(
    client: httpx.AsyncClient, peft_folders: Path, tmp_path: Path
) -> None:
    (peft_folders / "link").symlink_to(tmp_path)
    assert Error.of(await put_adapter(client, "bad", peft_folders / "link")).code == "forbidden"


@pytest.mark.parametrize("name", ["base", "Upper", "a b", "x" * 65])
async def test_an_illegal_name_is_refused(client: httpx.AsyncClient, peft_folders: Path, name: str) -> None:
    assert Error.of(await put_adapter(client, name, peft_folders / "my-lora")).status == 400


async def test_a_template_is_published_as_toml_or_inside_json(client: httpx.AsyncClient) -> None:
    toml = 'system = "Answer in rhyme."\n'
    first = await client.put("/v1/templates/rhyme", content=toml, headers=TOML)
    again = await client.put("/v1/templates/rhyme", json={"toml": toml})
    assert (first.status_code, first.json()["version"], first.json()["author"]) == (200, "rhyme@1", "local")
    assert again.json() == first.json() == (await client.get("/v1/templates/rhyme")).json()
    assert first.json()["manifest"]["template"]["system"] == "Answer in rhyme."
    assert "rhyme" in [template["name"] for template in (await client.get("/v1/templates")).json()]
    assert await mode_of(client, "prompt:rhyme") == "prompt:rhyme@1"


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"sytem = 1", "application/toml", "refused_artifact"),
        (b"not toml", "application/toml", "refused_artifact"),
        (b"\xff", "application/toml", "invalid_request"),
        (b'{"tmol": ""}', "application/json", "invalid_request"),
        (b"{", "application/json", "invalid_request"),
    ],
)
async def test_a_broken_template_is_refused(client: httpx.AsyncClient, content: bytes, kind: str, code: str) -> None:
    response = await client.put("/v1/templates/broken", content=content, headers={"content-type": kind})
    assert Error.of(response).code == code
    assert (await client.get("/v1/templates/broken")).status_code == 404


async def test_indexes_are_listed_shown_and_searched(client: httpx.AsyncClient) -> None:
    (listed,) = [index for index in (await client.get("/v1/indexes")).json() if index["name"] == "handbook"]
    assert (listed["version"], listed["manifest"]["documents"]) == ("handbook@1", 3)
    assert (await client.get("/v1/indexes/handbook@1")).json() == listed
    found = (await client.post("/v1/indexes/handbook/search", json={"query": "zzz", "top_k": 2})).json()["passages"]
    assert (len(found), found[0]["document"]) == (2, "colours.txt")
    for response in (
        await client.get("/v1/indexes/handbok"),
        await client.post("/v1/indexes/handbok/search", json={"query": "zzz"}),
        await client.delete("/v1/indexes/handbok"),
    ):
        assert "did you mean 'handbook'" in Error.of(response).message


async def test_an_unknown_name_in_the_path_is_no_fault_of_a_mode(client: httpx.AsyncClient) -> None:
    for method, path in (
        ("GET", "adapters/none"),
        ("GET", "adapters/my-lora@9"),
        ("DELETE", "adapters/none@1"),
        ("GET", "adapters/none/versions"),
        ("PUT", "adapters/none/pin"),
        ("GET", "templates/none"),
        ("GET", "indexes/none"),
    ):
        error = Error.of(await client.request(method, f"/v1/{path}"))
        assert (error.status, error.code) == (404, "unknown_name")
        assert error.param in ("name", None)
    error = Error.of(await client.post("/v1/query", json={"query": "Why?", "mode": "my-lora@9"}))
    assert (error.status, error.param) == (404, "mode")


@pytest.mark.parametrize("path", ["/etc", "{docs}/../../other"])
async def test_documents_outside_the_allowed_roots_are_refused(
    client: httpx.AsyncClient, documents: Path, path: str
) -> None:
    body = {"path": path.format(docs=documents)}
    error = Error.of(await client.post("/v1/indexes/new/builds", json=body))
    assert (error.code, error.param) == ("forbidden", "path")
    assert "RAGTUNE_DOCUMENT_ROOTS" in error.message
