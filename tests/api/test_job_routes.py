"""/v1/jobs: what is at work, who may see and cancel it, and the stream of what happens."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ragtune.audit import AuditLog
from ragtune.errors import Cancelled, RefusedArtifact
from ragtune.jobs import Jobs
from ragtune.keys import Keys
from ragtune.store import Database
from service.access import Gate
from service.parts import Parts
from service.working import Workers
from tests.api.conftest import Make, Serve

KIND, HANDBOOK = "index build", "index:handbook"
QUEUED = 'data: {"state":"queued","result":null,"error":null}'
Event = tuple[int, str, dict[str, object]]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "jobs.db")


@pytest.fixture
def jobs(database: Database, tmp_path: Path) -> Jobs:
    return Jobs(database, tmp_path)


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


@pytest.fixture
async def parts(make_parts: Make, keys: Keys, jobs: Jobs, database: Database, tmp_path: Path) -> Parts:
    made = make_parts(gate=Gate(keys, loopback=True), keep_alive=0.3)
    return dataclasses.replace(made, jobs=jobs, workers=Workers(jobs, tmp_path), audit=AuditLog(database))


def made(keys: Keys, *scopes: str, tenant: str = "") -> dict[str, str]:
    return {"authorization": f"Bearer {keys.create(f'key-{len(keys.known())}', scopes, tenant)[1]}"}


def finished(jobs: Jobs, **values: str) -> str:
    """The id of a job that has succeeded, with five events."""
    with jobs.run(KIND, HANDBOOK, {"path": "docs"}, **values) as running:
        for done in (0, 2):
            running.progress(done, 2, unit="passages", stage="embedding")
        running.result = {"version": "handbook@1"}
    return running.job.id


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """As they come; comments are left out."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}


async def read(url: str, job_id: str, **headers: str) -> list[Event]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", f"/v1/jobs/{job_id}/events", headers=sent) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        return [event async for event in events(response)]


async def test_jobs_are_listed_by_what_is_asked_for_and_shown_one_by_one(client: httpx.AsyncClient, jobs: Jobs) -> None:
    job_id = finished(jobs, author="ann")
    with pytest.raises(RefusedArtifact), jobs.run("training", "adapter:support", {}):
        raise RefusedArtifact("no examples")
    listed = (await client.get("/v1/jobs")).json()
    assert [(job["kind"], job["state"]) for job in listed] == [("training", "failed"), (KIND, "succeeded")]
    assert listed[0]["error"] == {"code": "refused_artifact", "message": "no examples"}
    for wanted in ({"kind": KIND}, {"resource": HANDBOOK}, {"state": "succeeded"}):
        assert [job["id"] for job in (await client.get("/v1/jobs", params=wanted)).json()] == [job_id]
    assert len((await client.get("/v1/jobs", params={"limit": 1})).json()) == 1
    shown = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert shown == jobs.get(job_id).model_dump(mode="json")
    assert (shown["author"], shown["spec"], shown["progress"]["percent"]) == ("ann", {"path": "docs"}, 100.0)
    for wrong in ({"kind": "indexbuild"}, {"state": "done"}, {"limit": 0}):
        assert (await client.get("/v1/jobs", params=wrong)).status_code == 400


async def test_an_unknown_job_is_a_404_with_near_matches_on_every_route(client: httpx.AsyncClient, jobs: Jobs) -> None:
    job_id = finished(jobs)
    near = job_id[:-1]
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/log"), ("POST", "/cancel"), ("POST", "/resume")):
        answer = await client.request(
            method, f"/v1/jobs/{near}{path}", headers={"content-type": "application/json"} if method == "POST" else {}
        )
        assert answer.status_code == 404 and job_id in answer.json()["error"]["message"]


async def test_a_tenant_sees_its_own_jobs_and_a_foreign_one_is_unknown(
    client: httpx.AsyncClient, jobs: Jobs, keys: Keys
) -> None:
    acme, brevik = made(keys, "query", "index:write", tenant="acme"), made(keys, "query", tenant="brevik")
    everyone = made(keys, "query")
    job_id = finished(jobs, tenant="acme")
    for key, seen in ((acme, 1), (brevik, 0), (everyone, 1)):
        assert len((await client.get("/v1/jobs", headers=key)).json()) == seen
        assert (await client.get(f"/v1/jobs/{job_id}", headers=key)).status_code == (200 if seen else 404)
    foreign = await client.get(f"/v1/jobs/{job_id}x/events", headers=brevik)
    assert foreign.status_code == 404 and "no job is registered yet" in foreign.json()["error"]["message"]


async def test_a_log_is_read_by_who_sees_the_job_and_empty_where_nobody_wrote_one(
    client: httpx.AsyncClient, jobs: Jobs, keys: Keys
) -> None:
    acme, brevik = (made(keys, "index:write", tenant=tenant) for tenant in ("acme", "brevik"))
    job_id = finished(jobs, tenant="acme")
    refused = await client.get(f"/v1/jobs/{job_id}/log", headers=made(keys, "query", tenant="acme"))
    assert refused.status_code == 403
    assert (await client.get(f"/v1/jobs/{job_id}/log", headers=acme)).text == ""
    jobs.log(job_id).write_bytes(b"one\ntwo \xff\nthree")
    for lines, told in ((1, "three\n"), (2, "two \ufffd\nthree\n"), (9, "one\ntwo \ufffd\nthree\n")):
        answer = await client.get(f"/v1/jobs/{job_id}/log", params={"lines": lines}, headers=acme)
        assert (answer.status_code, answer.text) == (200, told)
    assert (await client.get(f"/v1/jobs/{job_id}/log", headers=brevik)).status_code == 404
    assert (await client.get(f"/v1/jobs/{job_id}/log", params={"lines": 0}, headers=acme)).status_code == 400


async def cancel(client: httpx.AsyncClient, job_id: str, key: dict[str, str]) -> httpx.Response:
    return await client.post(f"/v1/jobs/{job_id}/cancel", headers=key | {"content-type": "application/json"})


async def test_cancelling_needs_the_scope_of_the_kind_of_job_and_is_written_down(
    client: httpx.AsyncClient, jobs: Jobs, keys: Keys, database: Database
) -> None:
    builder, trainer, asker = made(keys, "index:write"), made(keys, "train"), made(keys, "query")
    with pytest.raises(Cancelled), jobs.run(KIND, HANDBOOK, {}) as running:
        for key in (trainer, asker):
            refused = await cancel(client, running.job.id, key)
            assert refused.status_code == 403 and "'index:write'" in refused.json()["error"]["message"]
        asked = await cancel(client, running.job.id, builder)
        assert asked.status_code == 200 and asked.json()["cancel_requested"]
        running.check()
    again = await cancel(client, running.job.id, builder)
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    done = await cancel(client, finished(jobs), builder)
    assert done.status_code == 422 and "succeeded already" in done.json()["error"]["message"]
    written = [(entry.status, entry.path.rpartition("/")[2]) for entry in AuditLog(database).newest(9)]
    assert written == [(422, "cancel"), (200, "cancel"), (200, "cancel"), (403, "cancel"), (403, "cancel")]


async def test_the_stream_of_a_job_that_has_ended_tells_all_of_it(url: str, jobs: Jobs) -> None:
    told = await read(url, finished(jobs))
    assert [(seq, kind) for seq, kind, _ in told] == [
        (1, "state"),
        (2, "state"),
        (3, "progress"),
        (4, "progress"),
        (5, "state"),
    ]
    assert [data.get("state") or data["done"] for _, _, data in told] == ["queued", "running", 0, 2, "succeeded"]
    assert told[-1][2]["result"] == {"version": "handbook@1"}


@pytest.mark.parametrize(("last", "then"), [("2", [3, 4, 5]), ("4", [5]), ("5", [5]), ("99", [5])])
async def test_a_stream_goes_on_after_the_last_event_that_is_known_and_always_says_how_it_ended(
    url: str, jobs: Jobs, last: str, then: list[int]
) -> None:
    assert [seq for seq, _, _ in await read(url, finished(jobs), last_event_id=last)] == then


async def test_a_last_event_id_that_is_no_number_is_refused(client: httpx.AsyncClient, jobs: Jobs) -> None:
    for wrong in ("-1", "last", str(2**63)):
        answer = await client.get(f"/v1/jobs/{finished(jobs)}/events", headers={"last-event-id": wrong})
        assert answer.status_code == 400 and "Last-Event-ID" in answer.json()["error"]["message"]


async def test_a_stream_follows_a_job_at_work_with_comments_in_silence_and_from_where_a_client_left(
    url: str, jobs: Jobs
) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {})
    path = f"/v1/jobs/{queued.job.id}/events"
    async with httpx.AsyncClient(base_url=url) as client:
        async with client.stream("GET", path) as response:
            lines = response.aiter_lines()
            assert [await anext(lines) for _ in range(3)] == ["id: 1", "event: state", QUEUED]
            async with asyncio.timeout(3):
                while await anext(lines) != ": keep-alive":
                    pass
        async with client.stream("GET", path, headers={"last-event-id": "1"}) as response:
            jobs.cancel(queued.job.id)
            assert [(seq, data["state"]) async for seq, _, data in events(response)] == [(2, "cancelled")]


async def test_a_client_that_leaves_and_a_service_that_drains_end_the_stream(
    make_parts: Make, serve: Serve, parts: Parts, jobs: Jobs
) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {})
    async with serve(parts) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("GET", f"/v1/jobs/{queued.job.id}/events") as response:
            await anext(response.aiter_lines())
            assert parts.lifecycle.running == 1
        async with asyncio.timeout(2):
            while parts.lifecycle.running:
                await asyncio.sleep(0.01)
        async with client.stream("GET", f"/v1/jobs/{queued.job.id}/events") as response:
            lines = response.aiter_lines()
            await anext(lines)
            parts.lifecycle.draining = True
            async with asyncio.timeout(2):
                assert [line async for line in lines if line.startswith("id:")] == []


async def test_a_job_whose_rows_go_while_it_is_watched_is_told_as_an_event(
    url: str, jobs: Jobs, database: Database
) -> None:
    queued = jobs.queue(KIND, HANDBOOK, {})
    async with (
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", f"/v1/jobs/{queued.job.id}/events") as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        with database.write() as connection:
            connection.exec_driver_sql("DELETE FROM job")
        rest = [line async for line in lines]
    assert "event: error" in rest and "unknown_name" in rest[rest.index("event: error") + 1]
