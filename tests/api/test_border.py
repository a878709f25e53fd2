"""The outermost layer: Host and Origin, body types and sizes, request ids, draining, the log line."""

import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from service.bodies import MOST_BODY
from service.parts import Parts
from tests.api.conftest import Call, Make

BODY = {"query": "a secret question"}


async def query(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/v1/query", json=BODY, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
async def test_names_of_this_machine_are_served(client: httpx.AsyncClient, host: str) -> None:
    assert (await query(client, host=host)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[::1", ""])
async def test_any_other_host_is_refused_for_reading_too(client: httpx.AsyncClient, host: str) -> None:
    for response in (await query(client, host=host), await client.get("/v1/models", headers={"host": host})):
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


async def test_a_host_of_the_settings_is_served(call: Call, make_parts: Make) -> None:
    async with call(make_parts(allowed_hosts=("inside.example",))) as client:
        assert (await query(client, host="inside.example", origin="https://inside.example")).status_code == 200
        assert (await query(client, host="outside.example")).status_code == 403
    async with call(make_parts(allowed_hosts=("*",))) as client:
        assert (await query(client, host="outside.example", origin="https://elsewhere.example")).status_code == 200


async def test_listening_everywhere_does_not_mean_every_name_is_served(call: Call, make_parts: Make) -> None:
    async with call(make_parts(host="0.0.0.0")) as client:
        assert (await query(client, host="rebound.example")).status_code == 403
        assert (await query(client, host="localhost")).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "null", "file://"])
async def test_a_web_page_from_elsewhere_may_not_post(client: httpx.AsyncClient, origin: str) -> None:
    assert (await query(client, origin=origin)).status_code == 403


async def test_a_browser_that_says_cross_site_may_not_post_or_delete(client: httpx.AsyncClient) -> None:
    assert (await query(client, sec_fetch_site="cross-site")).status_code == 403
    response = await client.delete("/v1/adapters/my-lora", headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8000"])
async def test_a_page_of_this_machine_may_post(client: httpx.AsyncClient, origin: str) -> None:
    assert (await query(client, origin=origin, sec_fetch_site="same-site")).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_a_form_can_send_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post("/v1/query", content=json.dumps(BODY), headers={"content-type": kind})
    assert response.status_code == 400
    assert "application/json" in response.json()["error"]["message"]


async def test_a_body_without_a_type_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/query", content=json.dumps(BODY))).status_code == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/query",
        "/v1/adapters/my-lora/rollback",
        "/v1/modes/best/rollback",
        "/v1/load_lora_adapter",
        "/v1/indexes/handbook/builds",
    ],
)
async def test_a_post_that_a_page_may_send_unasked_is_refused_also_without_a_body(
    client: httpx.AsyncClient, path: str, kind: str
) -> None:
    response = await client.post(path, headers={"content-type": kind} if kind else {})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert "even without a body, with Content-Type: application/json" in response.json()["error"]["message"]


async def test_what_has_no_body_and_is_no_post_needs_no_type(client: httpx.AsyncClient) -> None:
    for method in ("PUT", "DELETE"):
        assert (await client.request(method, "/v1/adapters/my-lora/pin")).status_code == 200
    for path in ("/v1/adapters/x", "/v1/modes/x", "/v1/templates/x", "/v1/adapters/my-lora/aliases/x"):
        assert (await client.put(path)).status_code == 400


async def test_whatever_has_a_body_needs_a_type_announced_or_not(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    for content in (b"{}", pieces()):
        response = await client.put("/v1/adapters/my-lora/pin", content=content)
        assert response.status_code == 400
        assert "Content-Type: application/json" in response.json()["error"]["message"]


async def test_a_body_over_the_limit_is_refused_announced_or_not(client: httpx.AsyncClient) -> None:
    async def endless() -> object:
        for _ in range(9):
            yield b" " * (MOST_BODY // 8)

    kind = {"content-type": "application/json"}
    for content in (b" " * (MOST_BODY + 1), endless()):
        response = await client.post("/v1/query", content=content, headers=kind)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


async def test_a_request_id_is_taken_if_sane_and_made_otherwise(client: httpx.AsyncClient) -> None:
    assert (await query(client, x_request_id="abc-1.2:3")).headers["x-request-id"] == "abc-1.2:3"
    for strange in ("", "a b", "x" * 129, 'a"b', "{}"):
        made = (await query(client, x_request_id=strange)).headers["x-request-id"]
        assert made.startswith("req-") and made != strange
    assert "x-request-id" in (await client.get("/nowhere")).headers


async def test_one_line_a_request_says_all_but_the_text(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ragtune.access"):
        await client.post("/v1/query", json=BODY | {"mode": "rag"}, headers={"x-request-id": "mine"})
        await client.post("/v1/query", json=BODY | {"mode": "unknown"})
        await client.get("/healthz")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "ragtune.access"]
    assert [line["status"] for line in lines] == [200, 404]
    assert (lines[0]["request_id"], lines[0]["path"], lines[0]["mode"]) == ("mine", "/v1/query", "rag:handbook@1")
    assert {"time", "ms", "method", "prompt_tokens", "completion_tokens", "first_token_ms"} <= set(lines[0])
    assert "secret" not in caplog.text


async def test_while_draining_only_health_is_answered(client: httpx.AsyncClient, parts: Parts) -> None:
    assert (await client.get("/readyz")).status_code == 200
    parts.lifecycle.draining = True
    for response in (await query(client), await client.get("/v1/models"), await client.get("/readyz")):
        assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
    assert (await client.get("/healthz")).status_code == 200


async def test_health_says_what_is_running(client: httpx.AsyncClient) -> None:
    health = (await client.get("/healthz")).json()
    assert (health["status"], health["base"], health["max_model_len"]) == ("ok", "tiny-llama", 1024)
