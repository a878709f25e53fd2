"""Every row of the error table that a request can reach, as it is answered."""

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.tokenizer import Tokenizer
from ragtune.errors import RagtuneError, StorageFull
from ragtune.wire import ErrorEnvelope
from service.errors import refuse
from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.fakes import EchoEngine

LONG = {"model": "base", "prompt": "abc", "ignore_eos": True, "max_tokens": 1000}


def query(client: httpx.AsyncClient, mode: str = "base", **body: Any) -> Awaitable[httpx.Response]:
    return client.post("/v1/query", json={"query": "Why?", "mode": mode, **body})


def check(response: httpx.Response, status: int, kind: str, code: str) -> str:
    """The answer is this row of the table; returns its message."""
    error = ErrorEnvelope.model_validate(response.json()).error
    assert (response.status_code, error.type, error.code) == (status, kind, code), response.text
    assert response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status in (429, 503))
    return error.message


async def test_a_body_that_is_no_json_is_a_400_without_a_param(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/query", content=b'{"query": ', headers={"content-type": "application/json"})
    message = check(response, 400, "invalid_request_error", "invalid_request")
    assert "not valid JSON" in message
    assert response.json()["error"]["param"] is None


async def test_a_misspelt_field_is_named_before_the_one_missing_because_of_it(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/v1/query", json={"qery": "Why?"})
    message = check(response, 400, "invalid_request_error", "invalid_request")
    assert (message, response.json()["error"]["param"]) == ("qery: unknown field", "qery")


async def test_a_validation_message_is_bounded(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/query", json={"query": "a", "x" * 100_000: 1})
    check(response, 400, "invalid_request_error", "invalid_request")
    assert len(response.content) < 3000


@pytest.mark.parametrize(("mode", "numbers"), [("base", ("1024", "1074")), ("my-soft", ("1024", "1094", "20 virtual"))])
async def test_a_prompt_that_does_not_fit_is_told_both_numbers(
    client: httpx.AsyncClient, mode: str, numbers: tuple[str, ...]
) -> None:
    response = await client.post("/v1/completions", json=LONG | {"model": mode, "prompt": "x" * 74})
    message = check(response, 400, "invalid_request_error", "context_length_exceeded")
    assert all(number in message for number in numbers)


async def test_an_unknown_name_is_a_404_with_near_matches(client: httpx.AsyncClient) -> None:
    assert "'my-lora'" in check(await query(client, "my-lroa"), 404, "not_found_error", "unknown_name")


async def test_an_unknown_route_or_method_has_the_same_envelope(client: httpx.AsyncClient) -> None:
    check(await client.get("/v1/nothing"), 404, "not_found_error", "unknown_route")
    check(await client.get("/v1/query"), 405, "invalid_request_error", "method_not_allowed")


async def test_parts_that_do_not_fit_are_a_422(client: httpx.AsyncClient) -> None:
    check(await query(client, "my-lora+other-lora"), 422, "invalid_request_error", "incompatible_parts")


async def test_a_full_queue_is_answered_at_once(call: Call, make_parts: Make) -> None:
    engine = EchoEngine(slots=1, waiting=1, pace=0.01)
    async with call(make_parts(engine)) as client:
        running = [asyncio.create_task(client.post("/v1/completions", json=LONG)) for _ in range(2)]
        while engine.in_flight < 2:
            await asyncio.sleep(0.001)
        started = time.perf_counter()
        response = await client.post("/v1/completions", json=LONG)
        assert time.perf_counter() - started < 0.05
        check(response, 429, "overloaded_error", "overloaded")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert engine.in_flight == 0


async def test_requests_still_retrieving_count_so_the_one_too_many_is_told_at_once(
    call: Call, make_parts: Make
) -> None:
    parts = make_parts(EchoEngine(slots=1, waiting=1))
    goes_on = threading.Event()

    class Slow:
        def search(self, *_: object) -> list[object]:
            goes_on.wait(10)
            return []

    async with call(dataclasses.replace(parts, retriever=Slow())) as client:
        retrieving = [asyncio.create_task(query(client, "rag")) for _ in range(2)]
        while parts.lifecycle.preparing < 2:
            await asyncio.sleep(0.001)
        check(await query(client, "base"), 429, "overloaded_error", "overloaded")
        goes_on.set()
        assert [response.status_code for response in await asyncio.gather(*retrieving)] == [200, 200]
        assert (await query(client, "base")).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_fault_before_the_first_token_has_its_status(
    call: Call, make_parts: Make, tokenizer: Tokenizer, stream: bool
) -> None:
    engine = EchoEngine(fault=tokenizer.encode("!")[0][0])
    async with call(make_parts(engine)) as client:
        response = await client.post("/v1/completions", json=LONG | {"prompt": "!abc", "stream": stream})
        check(response, 500, "server_error", "engine_error")
        assert (await client.post("/v1/completions", json=LONG)).status_code == 200
    assert engine.generations[0].request_id.startswith(response.headers["x-request-id"])


async def test_an_engine_fault_after_the_first_token_is_an_event(
    call: Call, make_parts: Make, tokenizer: Tokenizer
) -> None:
    engine = EchoEngine(fault=tokenizer.encode("!")[0][0])
    async with call(make_parts(engine)) as client:
        response = await client.post("/v1/completions", json=LONG | {"prompt": "abc!", "stream": True})
    events = response.text.split("\n\n")
    assert response.status_code == 200
    assert '"text":"a"' in events[0]
    assert ErrorEnvelope.model_validate_json(events[3].removeprefix("data: ")).error.code == "engine_error"
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_deadline_before_the_first_token_is_a_504(call: Call, make_parts: Make, stream: bool) -> None:
    async with call(make_parts(EchoEngine(pace=5))) as client:
        response = await client.post("/v1/completions", json=LONG | {"deadline": 0.02, "stream": stream})
    assert "0.02" in check(response, 504, "server_error", "deadline_exceeded")


async def test_a_stopped_engine_is_a_503_and_not_ready(client: httpx.AsyncClient, parts: Parts) -> None:
    await parts.engine.close()
    check(await query(client), 503, "unavailable_error", "unavailable")
    check(await client.get("/readyz"), 503, "unavailable_error", "unavailable")
    assert (await client.get("/healthz")).status_code == 200


async def test_knowledge_that_cannot_be_read_is_a_503_and_no_answer_without_it(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    with parts.indexes.versions.staging() as folder:  # an index without its files
        manifest = parts.catalog.resolve("rag:handbook").index
        assert manifest is not None
        parts.indexes.versions.publish("hollow", folder, manifest.manifest)
    try:
        message = check(await query(client, "rag:hollow"), 503, "unavailable_error", "unavailable")
        assert "hollow@1" in message and str(parts.settings.home) not in message
    finally:
        parts.indexes.versions.delete("hollow")


async def test_an_adapter_whose_files_are_lost_fails_its_own_requests_only(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path
) -> None:
    version = parts.adapters.add("lost", peft_folders / "my-lora")
    (version.folder / "adapter_config.json").unlink()
    check(await query(client, "lost"), 422, "invalid_request_error", "refused_artifact")
    assert (await query(client, "my-lora")).status_code == 200
    parts.adapters.remove("lost")


async def test_a_full_disk_is_a_507() -> None:
    assert refuse(StorageFull("the disk is full")).status_code == 507


async def test_a_defect_of_ours_says_nothing_outside_and_everything_in_the_log(
    call: Call, make_parts: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Defective(EchoEngine):
        async def admit(self, generation: object) -> Any:
            raise ZeroDivisionError("the secret cause")

    class Unclear(EchoEngine):
        async def admit(self, generation: object) -> Any:
            raise RagtuneError("the secret cause")

    for engine, code in ((Defective(), "engine_error"), (Unclear(), "internal_error")):
        caplog.clear()
        async with call(make_parts(engine)) as client:
            with caplog.at_level(logging.ERROR):
                response = await client.post("/v1/query", json={"query": "a"}, headers={"x-request-id": "r-1"})
        check(response, 500, "server_error", code)
        assert "secret" not in response.text
        assert response.headers["x-request-id"] == "r-1"
        assert "the secret cause" in caplog.text and "r-1" in caplog.text
