"""Versions, aliases, rollback and deleting over HTTP: what a request has found it keeps, what is deleted is gone."""

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexer.record import Found
from indexer.retriever import Retriever
from indexer.search import Search
from indexer.store import IndexManifest
from ragtune.versions import Version
from service.parts import Parts
from tests.api.conftest import Call, Make, Serve
from tests.api.test_resource_routes import Error, mode_of, put_adapter
from tests.fakes import EchoEngine, LetterEmbedder
from tests.small_index import build_index


class SlowRetriever(Retriever):
    """Searches when it is told to."""

    def __init__(self) -> None:
        super().__init__(LetterEmbedder())
        self.asked, self.goes_on = threading.Event(), threading.Event()

    def search(self, version: Version[IndexManifest], search: Search) -> list[Found]:
        self.asked.set()
        self.goes_on.wait(10)
        return super().search(version, search)


@pytest.fixture
async def name(client: httpx.AsyncClient, peft_folders: Path) -> AsyncIterator[str]:
    """An adapter with two versions, gone after the test."""
    for folder in ("my-lora", "other-lora"):
        await put_adapter(client, "moving", peft_folders / folder)
    yield "moving"
    await client.delete("/v1/adapters/moving")


async def numbers(client: httpx.AsyncClient, name: str) -> list[int]:
    versions = (await client.get(f"/v1/adapters/{name}/versions")).json()
    return [int(version["version"].partition("@")[2]) for version in versions]


def rollback(client: httpx.AsyncClient, name: str, **body: Any) -> Any:
    return client.post(f"/v1/adapters/{name}/rollback", json=body)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_an_alias_is_set_shown_used_moved_and_taken_away(client: httpx.AsyncClient, name: str) -> None:
    first, second = await numbers(client, name)
    path = f"/v1/adapters/{name}/aliases/prod"
    alias = {"name": name, "alias": "prod", "version": f"{name}@{first}"}
    assert (await client.put(path, json={"version": first})).json() == alias
    assert (await client.get(path)).json() == alias
    assert (await client.get(f"/v1/adapters/{name}/aliases")).json() == [alias]
    assert await mode_of(client, f"{name}@prod") == f"{name}@{first}"
    shown = (await client.get(f"/v1/adapters/{name}/versions")).json()
    assert [(version["aliases"], version["current"]) for version in shown] == [(["prod"], False), ([], True)]
    assert (await client.get(f"/v1/adapters/{name}@prod")).json() == shown[0]
    await client.put(path, json={"version": second})
    assert await mode_of(client, f"{name}@prod+rag") == f"{name}@{second}+rag:handbook@1"
    assert (await rollback(client, name, alias="prod")).json()["version"] == f"{name}@{first}"
    assert await mode_of(client, f"{name}@prod") == f"{name}@{first}"
    assert (await client.delete(path)).json() == alias
    assert Error.of(await client.get(path)).code == "unknown_name"
    assert (await client.get(f"/v1/adapters/{name}/aliases")).json() == []


async def test_the_current_version_goes_back_and_says_when_it_cannot(client: httpx.AsyncClient, name: str) -> None:
    first, _ = await numbers(client, name)
    described = (await rollback(client, name)).json()
    assert (described["version"], described["current"], described["author"]) == (f"{name}@{first}", True, "local")
    assert await mode_of(client, name) == f"{name}@{first}"
    empty = await client.post(f"/v1/adapters/{name}/rollback", headers={"content-type": "application/json"})
    error = Error.of(empty)
    assert Error.of(await rollback(client, name)) == error
    assert (error.status, error.code) == (422, "incompatible_parts")
    assert "there is nothing to go back to" in error.message


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("PUT", "moving/aliases/prod", {"version": 99}, 404, "known: "),
        ("PUT", "moving/aliases/prod", {"version": "2"}, 400, "version"),
        ("PUT", "moving/aliases/prod", {"number": 2}, 400, "number: unknown field"),
        ("PUT", "moving/aliases/7", {"version": 1}, 400, "not a legal alias"),
        ("PUT", "movin/aliases/prod", {"version": 1}, 404, "did you mean 'moving'"),
        ("PUT", "moving@1/aliases/prod", {"version": 1}, 400, "not a legal name"),
        ("GET", "moving/aliases/canary", None, 404, "unknown version of adapter 'moving': 'canary'"),
        ("DELETE", "moving/aliases/canary", None, 404, "unknown version of adapter 'moving': 'canary'"),
        ("POST", "moving/rollback", {"alias": "canary"}, 404, "'canary'"),
        ("POST", "moving/rollback", {"alais": "prod"}, 400, "alais: unknown field"),
        ("GET", "movin/versions", None, 404, "did you mean 'moving'"),
    ],
)
async def test_what_cannot_be_done_is_refused_in_words(
    client: httpx.AsyncClient, name: str, method: str, path: str, body: object, status: int, says: str
) -> None:
    error = Error.of(await client.request(method, f"/v1/adapters/{path}", json=body))
    assert (error.status, says in error.message) == (status, True), error.message


async def test_one_version_is_deleted_once_nothing_means_it(client: httpx.AsyncClient, parts: Parts, name: str) -> None:
    first, second = await numbers(client, name)
    old = parts.adapters.versions.of(name)[0]

    async def refused(number: int, says: str) -> None:
        error = Error.of(await client.delete(f"/v1/adapters/{name}@{number}"))
        assert (error.status, says in error.message) == (422, True), error.message

    await refused(second, f"{name}@{second} is what {name} means")
    await client.put(f"/v1/adapters/{name}/aliases/prod", json={"version": first})
    await refused(first, f"{name}@{first} is what {name}@prod means")
    await client.delete(f"/v1/adapters/{name}/aliases/prod")
    await client.put("/v1/modes/best", json={"mode": f"{name}@{first}+rag"})
    await refused(first, f"best means {name}@{first}+rag: let that mean another mode first")
    await client.delete("/v1/modes/best")
    deleted = (await client.delete(f"/v1/adapters/{name}@{first}")).json()
    assert deleted == {"name": name, "versions": [f"{name}@{first}"]}
    assert not old.folder.exists()
    assert not any(key.startswith(f"{old}#") for key in (await parts.engine.stats()).adapters)
    assert await numbers(client, name) == [second]
    assert await mode_of(client, name) == f"{name}@{second}"


async def test_a_request_that_still_retrieves_keeps_the_adapter_that_is_deleted_meanwhile(
    call: Call, make_parts: Make, peft_folders: Path
) -> None:
    retriever = SlowRetriever()
    parts = dataclasses.replace(make_parts(), retriever=retriever)
    async with call(parts) as client:
        await put_adapter(client, "going", peft_folders / "my-lora")
        version = parts.adapters.versions.of("going")[0]
        asked = asyncio.create_task(client.post("/v1/query", json={"query": "Why?", "mode": "going+rag"}))
        await until(retriever.asked.is_set)
        deleting = asyncio.create_task(client.delete("/v1/adapters/going"))
        await until(lambda: "going" not in parts.adapters.names())
        assert Error.of(await client.post("/v1/query", json={"query": "Why?", "mode": "going"})).status == 404
        await asyncio.sleep(0.05)
        assert version.folder.exists() and not deleting.done()
        retriever.goes_on.set()
        assert (await asked).json()["resolved_mode"] == f"{version}+rag:handbook@1"
        assert (await deleting).json()["versions"] == [str(version)]
        assert not version.folder.exists()
        assert not (await parts.engine.stats()).adapters


async def test_a_request_in_flight_keeps_what_an_alias_meant_when_it_came(
    call: Call, make_parts: Make, peft_folders: Path
) -> None:
    engine = EchoEngine(pace=0.01)
    async with call(make_parts(engine)) as client:
        for folder in ("my-lora", "other-lora"):
            await put_adapter(client, "flown", peft_folders / folder)
        first, second = await numbers(client, "flown")
        path = "/v1/adapters/flown/aliases/prod"
        await client.put(path, json={"version": first})
        asked = asyncio.create_task(client.post("/v1/query", json={"query": "Why?", "mode": "flown@prod"}))
        await until(lambda: engine.in_flight)
        await client.put(path, json={"version": second})
        assert await mode_of(client, "flown@prod") == f"flown@{second}"
        assert (await asked).json()["resolved_mode"] == f"flown@{first}"
        await client.delete("/v1/adapters/flown")


async def test_all_prompts_of_a_request_have_one_version_though_the_alias_flips_between_them(
    call: Call, make_parts: Make, peft_folders: Path
) -> None:
    retriever = SlowRetriever()
    async with call(dataclasses.replace(make_parts(), retriever=retriever)) as client:
        for folder in ("my-lora", "other-lora"):
            await put_adapter(client, "steady", peft_folders / folder)
        body = {"model": "steady+rag", "prompt": ["a", "b"], "max_tokens": 1}
        asked = asyncio.create_task(client.post("/v1/completions", json=body))
        await until(retriever.asked.is_set)
        await rollback(client, "steady")
        retriever.goes_on.set()
        extension = (await asked).json()["ragtune"]
        assert {extension["mode"], extension["further"][0]["mode"]} == {"steady@2+rag:handbook@1"}
        await client.delete("/v1/adapters/steady")


async def test_a_delete_goes_on_when_the_one_who_asked_for_it_has_left(
    make_parts: Make, serve: Serve, peft_folders: Path
) -> None:
    retriever = SlowRetriever()
    parts = dataclasses.replace(make_parts(), retriever=retriever)
    async with serve(parts) as url, httpx.AsyncClient(base_url=url) as client:
        await put_adapter(client, "left", peft_folders / "my-lora")
        version = parts.adapters.versions.of("left")[0]
        asked = asyncio.create_task(client.post("/v1/query", json={"query": "Why?", "mode": "left+rag"}))
        await until(retriever.asked.is_set)
        with pytest.raises(httpx.ReadTimeout):
            await client.delete("/v1/adapters/left", timeout=0.2)
        retriever.goes_on.set()
        assert (await asked).status_code == 200
        await until(lambda: not version.folder.exists())


async def test_a_deleted_index_is_searched_to_the_end_by_those_who_found_it(
    call: Call, make_parts: Make, documents: Path
) -> None:
    retriever = SlowRetriever()
    parts = dataclasses.replace(make_parts(), retriever=retriever)
    version = build_index(documents, "fading", parts.indexes, LetterEmbedder()).version
    async with call(parts) as client:
        body = {"query": "zzz", "mode": "rag:fading", "top_k": 1}
        asked = asyncio.create_task(client.post("/v1/query", json=body))
        searched = asyncio.create_task(client.post("/v1/indexes/fading/search", json={"query": "zzz", "top_k": 1}))
        await until(retriever.asked.is_set)
        deleting = asyncio.create_task(client.delete("/v1/indexes/fading"))
        await until(lambda: "fading" not in parts.indexes.versions.names())
        await asyncio.sleep(0.05)
        assert version.folder.exists() and not deleting.done()
        retriever.goes_on.set()
        assert (await asked).json()["passages"][0]["document"] == "colours.txt"
        assert (await searched).json()["passages"][0]["document"] == "colours.txt"
        assert (await deleting).json() == {"name": "fading", "versions": [str(version)]}
        assert not version.folder.exists()


async def test_an_adapter_is_deleted_though_the_engine_is_gone(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path
) -> None:
    version = parts.adapters.add("orphaned", peft_folders / "my-lora")
    await parts.engine.close()
    assert (await client.delete("/v1/adapters/orphaned")).status_code == 200
    assert not version.folder.exists()
