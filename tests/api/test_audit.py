"""The audit log over HTTP: one row for whoever changes something or tries to, and none for those who only ask."""

import asyncio
import dataclasses
import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from ragtune.audit import AuditLog
from ragtune.keys import Keys
from ragtune.store import Database
from service.access import Gate
from service.engine.messages import AdapterRef
from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.fakes import EchoEngine

TOML = {"content-type": "application/toml"}
BRIEF = 'system = "a secret wording"'


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """One of its own, so that the log holds this test's rows alone."""
    return Database(tmp_path / "audit.db")


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


@pytest.fixture
def log(database: Database) -> AuditLog:
    return AuditLog(database)


@pytest.fixture
async def parts(make_parts: Make, keys: Keys, log: AuditLog) -> Parts:
    return dataclasses.replace(make_parts(gate=Gate(keys, loopback=True)), audit=log)


def made(keys: Keys, name: str, *scopes: str, tenant: str = "") -> dict[str, str]:
    return {"authorization": f"Bearer {keys.create(name, scopes, tenant)[1]}"}


async def put(client: httpx.AsyncClient, name: str, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.put(f"/v1/templates/{name}", content=BRIEF, headers=TOML | sent)


async def test_a_change_is_written_down_with_who_made_it_before_it_is_answered(
    client: httpx.AsyncClient, keys: Keys, log: AuditLog, parts: Parts
) -> None:
    key = made(keys, "builder", "adapters:write", tenant="acme")
    try:
        answer = await put(client, "audited", x_request_id="mine", **key)
        (entry,) = log.newest(9)
    finally:
        parts.templates.versions.delete("audited")
    assert answer.status_code == 200
    (known,) = keys.known()
    assert entry.model_dump(exclude={"number", "time"}) == {
        "who": "builder",
        "key": known.id,
        "tenant": "acme",
        "method": "PUT",
        "path": "/v1/templates/audited",
        "status": 200,
        "request_id": "mine",
    }


async def test_what_is_refused_is_written_down_too_wherever_it_is_refused(
    client: httpx.AsyncClient, keys: Keys, log: AuditLog
) -> None:
    asker, builder = made(keys, "asker", "query"), made(keys, "builder", "adapters:write", "index:write")
    await put(client, "refused")
    await put(client, "refused", authorization="Bearer rt-K1-wrong")
    await put(client, "refused", **asker)
    await put(client, "refused", origin="https://evil.example", **builder)
    await put(client, "Refused", **builder)
    await client.delete("/v1/adapters/no-such-adapter", headers=builder)
    await client.post("/v1/indexes/no-such-index/builds", json={"path": "/etc"}, headers=builder)
    assert [(entry.who, entry.method, entry.path, entry.status) for entry in reversed(log.newest(9))] == [
        (None, "PUT", "/v1/templates/refused", 401),
        (None, "PUT", "/v1/templates/refused", 401),
        ("asker", "PUT", "/v1/templates/refused", 403),
        (None, "PUT", "/v1/templates/refused", 403),
        ("builder", "PUT", "/v1/templates/Refused", 400),
        ("builder", "DELETE", "/v1/adapters/no-such-adapter", 404),
        ("builder", "POST", "/v1/indexes/no-such-index/builds", 403),
    ]
    assert all(entry.request_id for entry in log.newest(9))


async def test_whoever_only_asks_leaves_no_row(client: httpx.AsyncClient, log: AuditLog) -> None:
    await client.post("/v1/query", json={"query": "Why?"})
    await client.post("/v1/indexes/handbook/search", json={"query": "Why?"})
    await client.get("/v1/audit")
    await client.get("/v1/adapters/my-lora")
    await client.delete("/v1/nothing")
    assert log.newest(9) == []


async def test_without_keys_it_is_this_machine_that_changes_something(client: httpx.AsyncClient, log: AuditLog) -> None:
    await client.delete("/v1/adapters/no-such-adapter", headers={"authorization": "Bearer none"})
    assert [(entry.who, entry.key) for entry in log.newest(9)] == [("local", None)]


async def test_the_log_is_read_newest_first_by_admins_alone(client: httpx.AsyncClient, keys: Keys) -> None:
    admin, writer = made(keys, "admin", "admin"), made(keys, "writer", "index:write", "adapters:write", "query")
    for number in range(3):
        await client.delete(f"/v1/adapters/none-{number}", headers=writer)
    assert (await client.get("/v1/audit", headers=writer)).status_code == 403
    found = (await client.get("/v1/audit", params={"limit": 2}, headers=admin)).json()
    assert [entry["path"] for entry in found] == ["/v1/adapters/none-2", "/v1/adapters/none-1"]
    assert len((await client.get("/v1/audit", headers=admin)).json()) == 3
    older = (await client.get("/v1/audit", params={"limit": 2, "before": found[1]["number"]}, headers=admin)).json()
    assert [entry["path"] for entry in older] == ["/v1/adapters/none-0"]
    for wrong in ({"limit": "0"}, {"limit": "1001"}, {"limit": "all"}, {"before": "0"}):
        assert (await client.get("/v1/audit", params=wrong, headers=admin)).status_code == 400


async def test_it_holds_neither_bodies_nor_keys(client: httpx.AsyncClient, keys: Keys, log: AuditLog) -> None:
    key = made(keys, "asker", "query")
    await client.put(f"/v1/templates/x?secret={key}", content=BRIEF, headers=TOML | key)
    written = json.dumps([entry.model_dump() for entry in log.newest(9)])
    assert "asker" in written
    assert "secret" not in written and key["authorization"].rpartition("-")[2] not in written


async def test_a_request_that_is_given_up_is_written_down_as_gone(
    call: Call, parts: Parts, peft_folders: Path, log: AuditLog
) -> None:
    class Slow(EchoEngine):
        async def load(self, ref: AdapterRef, *, pinned: bool = False) -> None:
            loading.set()
            await asyncio.sleep(60)

    loading = asyncio.Event()
    async with call(dataclasses.replace(parts, engine=Slow())) as client:
        body = {"path": str(peft_folders / "my-lora")}
        putting = asyncio.create_task(client.put("/v1/adapters/given-up", json=body))
        await loading.wait()
        putting.cancel()
        await asyncio.wait([putting])
    assert "given-up" not in parts.adapters.names()
    assert [(entry.path, entry.status) for entry in log.newest(9)] == [("/v1/adapters/given-up", 499)]


async def test_an_entry_that_cannot_be_written_is_in_the_servers_log_and_the_answer_is_given(
    client: httpx.AsyncClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with database.write() as connection:
        connection.execute(text("DROP TABLE audit"))
    with caplog.at_level("ERROR", "ragtune.audit"):
        answer = await client.delete("/v1/adapters/no-such-adapter", headers={"x-request-id": "mine"})
    assert answer.status_code == 404
    assert '"path":"/v1/adapters/no-such-adapter"' in caplog.text and '"request_id":"mine"' in caplog.text
    assert "no such table" in caplog.text
