"""Keys over HTTP: every route of the OpenAPI document asks for one with its scope, before it reads anything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from ragtune.errors import InvalidRequest, RagtuneError
from ragtune.keys import SCOPES, Keys
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.wire import ErrorEnvelope
from scripts.write_openapi import document
from service import errors
from service.access import HEALTH, Access, Doors, Gate, needs
from service.border import Border
from service.parts import Lifecycle, Parts
from service.server import serve_until_stopped, welcome
from tests.api.conftest import Call, Make
from tests.fakes import EchoEngine

OPERATIONS = [
    pytest.param(method.upper(), path, operation, id=f"{method} {path}")
    for path, operations in document()["paths"].items()
    for method, operation in operations.items()
]
GUARDED = [case for case in OPERATIONS if case.values[1] not in HEALTH]
QUESTION = {"query": "Why?", "max_tokens": 1}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Keys of a database of their own: the home that tests share must stay open."""
    return Keys(Database(tmp_path / "keys.db"))


@pytest.fixture
async def parts(make_parts: Make, keys: Keys) -> Parts:
    return make_parts(gate=Gate(keys, loopback=True))


def made(keys: Keys, *scopes: str, tenant: str = "") -> dict[str, str]:
    """The header of a new key."""
    return {"authorization": f"Bearer {keys.create(f'key-{len(keys.known())}', scopes, tenant)[1]}"}


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/v1/query", json=QUESTION, headers=sent)


async def send(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """A request to this route that no handler could work on: for names nobody has, with a body that is broken."""
    filled = path.replace("{name}", "no-such-name").replace("{id}", "no-such-name")
    body = None if method in ("GET", "DELETE") else b'{"qery": '
    return await client.request(method, filled, content=body, headers={"content-type": "application/json", **headers})


def check(response: httpx.Response, status: int, kind: str, code: str) -> str:
    error = ErrorEnvelope.model_validate(response.json()).error
    assert (response.status_code, error.type, error.code) == (status, kind, code), response.text
    assert ("www-authenticate" in response.headers) == (status == 401)
    return error.message


@pytest.mark.parametrize(("method", "path", "operation"), GUARDED)
async def test_every_route_refuses_a_missing_key_a_wrong_one_and_one_without_its_scope(
    client: httpx.AsyncClient, keys: Keys, method: str, path: str, operation: dict[str, Any]
) -> None:
    ((scheme, scopes),) = operation["security"][0].items()
    right, admin = [made(keys, scope) for scope in scopes], made(keys, "admin")
    without = made(keys, *(other for other in SCOPES if other not in (*scopes, "admin")))
    wrong = {"authorization": right[0]["authorization"][:-1] + "x"}
    for refused in ({}, wrong):
        check(await send(client, method, path, refused), 401, "authentication_error", "unauthorized")
    told = check(await send(client, method, path, without), 403, "permission_error", "forbidden")
    assert all(repr(scope) in told for scope in scopes)
    for accepted in (*right, admin):
        assert (await send(client, method, path, accepted)).status_code in (200, 400, 404, 422)
    assert {"401", "403"} < set(operation["responses"])
    assert document()["components"]["securitySchemes"][scheme]["scheme"] == "bearer"


def test_the_only_operations_without_a_scope_say_how_the_service_is() -> None:
    assert {case.values[1] for case in OPERATIONS if "security" not in case.values[2]} == HEALTH


async def test_health_and_the_description_are_open_and_a_path_nobody_knows_is_not(
    client: httpx.AsyncClient, keys: Keys
) -> None:
    key = made(keys, "query")
    for path in (*HEALTH, "/openapi.json", "/docs"):
        assert (await client.get(path)).status_code == 200
    for path in ("/v1/nothing", "/metrics", "/healthz/", "//healthz", "/docs/x"):
        assert (await client.get(path)).status_code == 401
    assert (await client.get("/v1/nothing", headers=key)).status_code == 404


def test_a_route_that_declares_no_scope_stops_the_start() -> None:
    routes = APIRouter()

    @routes.get("/v1/forgotten", include_in_schema=False)
    async def forgotten() -> None: ...

    with pytest.raises(RuntimeError, match="/v1/forgotten must declare one scope"):
        Doors([routes])


def test_a_route_that_declares_two_scopes_or_cannot_declare_one_stops_the_start() -> None:
    twice, mounted = APIRouter(dependencies=[needs("query")]), APIRouter()

    @twice.get("/v1/twice", dependencies=[needs("admin")])
    async def both() -> None: ...

    mounted.mount("/v1/files", lambda *_: None)
    for routes in (twice, mounted):
        with pytest.raises(RuntimeError, match="scope"):
            Doors([routes])


@pytest.mark.parametrize(("layered", "status"), [(True, 403), (False, 500)])
async def test_a_route_that_the_layer_does_not_know_or_a_missing_layer_lets_nobody_by(
    keys: Keys, layered: bool, status: int
) -> None:
    app, routes = FastAPI(), APIRouter()
    errors.install(app)

    @routes.get("/v1/hidden", dependencies=[needs("admin")])
    async def hidden() -> str:
        return "a secret"

    app.include_router(routes)
    if layered:
        app.add_middleware(Access, doors=Doors([]), gate=Gate(keys, loopback=True))
    app.add_middleware(Border, hosts=frozenset(), lifecycle=Lifecycle(), max_upload=1, max_document=1)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/v1/hidden", headers=made(keys, "query"))).status_code == status


async def test_nothing_of_the_body_is_read_before_the_key_is_known_to_be_good(
    client: httpx.AsyncClient, keys: Keys
) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b'{"query": "Why?"}'

    kind = {"content-type": "application/json"}
    for headers, status in ((made(keys, "eval"), 403), ({}, 401)):
        response = await client.post("/v1/query", content=body(), headers=kind | headers)
        assert (response.status_code, read) == (status, 0)
    assert (await client.post("/v1/query", content=body(), headers=kind | made(keys, "query"))).status_code == 200
    assert read == 1


async def test_until_a_key_is_made_everyone_on_this_machine_may_do_everything(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Bearer none"}, {"authorization": "Basic eDp5"}):
        assert (await ask(client, **headers)).status_code == 200
        assert (await client.get("/v1/audit", headers=headers)).status_code == 200


async def test_an_address_that_others_reach_is_never_open(call: Call, make_parts: Make, keys: Keys) -> None:
    async with call(make_parts(gate=Gate(keys, loopback=False))) as client:
        check(await ask(client), 401, "authentication_error", "unauthorized")


async def test_the_first_key_closes_the_door_and_revoking_the_last_one_does_not_open_it(
    client: httpx.AsyncClient, keys: Keys
) -> None:
    assert (await ask(client)).status_code == 200
    key = made(keys, "query")
    assert [(await ask(client)).status_code, (await ask(client, **key)).status_code] == [401, 200]
    keys.revoke("key-0")
    assert [(await ask(client)).status_code, (await ask(client, **key)).status_code] == [401, 401]


async def test_a_key_counts_only_as_a_bearer_in_the_header(client: httpx.AsyncClient, keys: Keys) -> None:
    key = made(keys, "query")["authorization"].removeprefix("Bearer ")
    for header in (f"Bearer {key}", f"bearer {key}", f"BEARER  {key} "):
        assert (await ask(client, authorization=header)).status_code == 200
    for header in (key, f"Basic {key}", "Bearer", "Bearer ", f"Bearer x{key}", f"Bearer {key} {key}", "Bearer \xfc"):
        refused = await client.post("/v1/query", json=QUESTION, headers=[(b"authorization", header.encode("latin-1"))])
        assert refused.status_code == 401, header
    assert (await ask(client, x_api_key=key)).status_code == 401
    assert (await client.get("/v1/models", params={"key": key, "access_token": key})).status_code == 401


async def test_the_token_of_the_home_may_do_everything(call: Call, make_parts: Make, keys: Keys) -> None:
    made(keys, "query")
    async with call(make_parts(gate=Gate(keys, loopback=False, token="of-this-home"))) as client:
        assert (await ask(client, authorization="Bearer of-this-home")).status_code == 200
        assert (await client.get("/v1/audit", headers={"authorization": "Bearer of-this-home"})).status_code == 200
        assert (await ask(client, authorization="Bearer of-this-hom")).status_code == 401


async def test_each_tenant_has_a_prefix_cache_of_its_own_on_every_generating_route(
    call: Call, make_parts: Make, keys: Keys
) -> None:
    engine = EchoEngine(slots=9)
    chat = {"model": "base", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 1}
    prompts = {"model": "base", "prompt": ["Why?", "How?"], "max_tokens": 1}
    requests = [
        ("/v1/query", QUESTION, 1),
        ("/v1/compare", QUESTION | {"modes": ["base", "my-lora"]}, 2),
        ("/v1/chat/completions", chat, 1),
        ("/v1/chat/completions", chat | {"stream": True, "n": 2}, 2),
        ("/v1/completions", prompts, 2),
        ("/v1/completions", prompts | {"stream": True}, 2),
    ]
    async with call(make_parts(engine, gate=Gate(keys, loopback=True))) as client:
        for tenant in ("", "acme", "umbrella"):
            key = made(keys, "query", tenant=tenant)
            for path, body, generations in requests:
                before = len(engine.generations)
                assert (await client.post(path, json=body, headers=key)).status_code == 200
                assert [each.namespace for each in engine.generations[before:]] == [tenant] * generations


async def test_the_log_line_names_the_key_and_not_its_secret(
    client: httpx.AsyncClient, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    key = made(keys, "query")
    with caplog.at_level("INFO", "ragtune.access"):
        await ask(client, **key)
    assert '"caller": "key-0"' in caplog.text
    assert key["authorization"].rpartition("-")[2] not in caplog.text


async def test_many_requests_at_once_are_each_taken_for_who_they_are(parts: Parts, call: Call, keys: Keys) -> None:
    headers = [made(keys, scope) for scope in ("query", "train", "admin", "eval")] + [{}]
    async with call(parts) as client:
        answers = await asyncio.gather(*(client.get("/v1/models", headers=header) for header in headers * 8))
    assert [answer.status_code for answer in answers] == [200, 403, 200, 403, 401] * 8


async def test_where_keys_cannot_be_read_nobody_is_let_by(
    client: httpx.AsyncClient, keys: Keys, tmp_path: Path
) -> None:
    headers = made(keys, "admin")
    with Database(tmp_path / "keys.db").write() as connection:
        connection.execute(text("DROP TABLE api_key"))
    for response in (await ask(client), await ask(client, **headers)):
        assert (response.status_code, response.json()["error"]["code"]) == (500, "engine_error")


@pytest.mark.parametrize("host", ["0.0.0.0", "", "0"])
def test_the_service_does_not_listen_where_others_reach_it_without_a_key(tmp_path: Path, host: str) -> None:
    settings = Settings(home=tmp_path, host=host, port=0)
    keys = Keys(Database(settings.database))
    with pytest.raises(InvalidRequest, match="ragtune key create NAME --scope query"):
        serve_until_stopped(settings)
    keys.create("app", ["query"])
    keys.revoke("app")
    with pytest.raises(InvalidRequest, match="no API key in use"):
        serve_until_stopped(settings)
    assert not (tmp_path / "server.json").exists()


def test_a_key_for_the_commands_is_said_to_be_none_for_the_service(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="0.0.0.0", port=0, api_key=SecretStr("rt-K1-mine"))
    with pytest.raises(InvalidRequest, match=r"no API key in use \(RAGTUNE_API_KEY makes none") as caught:
        serve_until_stopped(settings)
    assert "rt-K1-mine" not in caught.value.message


async def test_at_the_start_a_key_that_opens_nothing_is_named_by_its_variable(
    make_parts: Make, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = Gate(keys, loopback=True)
    for key, told in ((None, False), ("rt-K1-mine", True), (keys.create("mine", ["query"])[1], False)):
        welcome(make_parts(gate=gate, api_key=SecretStr(key) if key else None), "http://127.0.0.1:8000")
        assert ("RAGTUNE_API_KEY makes no key" in capsys.readouterr().err) == told


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_without_a_key_it_listens_on_the_loopback(tmp_path: Path, host: str) -> None:
    assert "no-such-model" in stopped_by(Settings(home=tmp_path, host=host, port=0, base_model="/no-such-model"))


def test_with_a_key_it_listens_anywhere(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="0.0.0.0", port=0, base_model="/no-such-model")
    Keys(Database(settings.database)).create("app", ["query"])
    assert "no-such-model" in stopped_by(settings)


def stopped_by(settings: Settings) -> str:
    """What it stumbles over once it listens: its base model, which is not there."""
    with pytest.raises(RagtuneError) as caught:
        serve_until_stopped(settings)
    return caught.value.message
