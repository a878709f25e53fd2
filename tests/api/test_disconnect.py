"""A client that goes away frees its slot: on every generating route, before the first token and after it."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from service.parts import Parts
from tests.api.conftest import Make, Serve
from tests.fakes import EchoEngine

ENDLESS = {"model": "base", "ignore_eos": True, "max_tokens": 900}
MESSAGES = {"messages": [{"role": "user", "content": "Hello"}]}
QUESTION = {"query": "Hello", "max_tokens": 400}
ROUTES = [
    pytest.param("/v1/chat/completions", ENDLESS | MESSAGES, id="chat"),
    pytest.param("/v1/completions", ENDLESS | {"prompt": "abc"}, id="completions"),
    pytest.param("/v1/completions", ENDLESS | {"prompt": ["abc", "def"]}, id="several completions"),
    pytest.param("/v1/query", QUESTION, id="query"),
    pytest.param("/v1/compare", QUESTION | {"modes": ["base", "my-lora", "rag"]}, id="compare"),
]


@pytest.fixture
async def engine() -> EchoEngine:
    return EchoEngine(pace=0.05)


@pytest.fixture
async def parts(make_parts: Make, engine: EchoEngine) -> Parts:
    return make_parts(engine)


async def until(condition: Any, seconds: float = 3.0) -> float:
    """Wait; returns the seconds it took."""
    started = time.perf_counter()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
    return time.perf_counter() - started


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_a_client_that_waits_for_an_answer_and_goes(
    url: str, engine: EchoEngine, path: str, body: dict[str, Any]
) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        asked = asyncio.create_task(client.post(path, json=body))
        await until(lambda: engine.in_flight)
        asked.cancel()
    assert await until(lambda: engine.in_flight == 0) < 0.5


@pytest.mark.parametrize("chunks", [0, 1, 3])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", ENDLESS | MESSAGES), ("/v1/completions", ENDLESS | {"prompt": "abc"})]
)
async def test_a_client_that_reads_a_stream_and_goes(
    url: str, engine: EchoEngine, path: str, body: dict[str, Any], chunks: int
) -> None:
    async def read() -> None:
        async with (
            httpx.AsyncClient(base_url=url) as client,
            client.stream("POST", path, json=body | {"stream": True}) as response,
        ):
            lines = response.aiter_lines()
            for _ in range(chunks):
                await anext(lines)

    if chunks:
        await read()
    else:  # gone before the first token
        engine.pace = 10
        asked = asyncio.create_task(read())
        await until(lambda: engine.in_flight == 1)
        asked.cancel()
    assert await until(lambda: engine.in_flight == 0) < 0.5


async def test_a_client_that_stops_reading_keeps_nobody_waiting(url: str, engine: EchoEngine) -> None:
    body = ENDLESS | MESSAGES | {"stream": True}
    async with (
        httpx.AsyncClient(base_url=url) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as unread,
    ):
        answer = await client.post("/v1/query", json={"query": "a", "max_tokens": 2})
        assert (unread.status_code, answer.status_code) == (200, 200)
    await until(lambda: engine.in_flight == 0)


async def test_the_slot_of_one_who_left_is_taken_by_the_next(make_parts: Make, serve: Serve) -> None:
    engine = EchoEngine(slots=1, waiting=0, pace=0.01)
    async with serve(make_parts(engine)) as url, httpx.AsyncClient(base_url=url) as client:
        for _ in range(5):
            asked = asyncio.create_task(client.post("/v1/query", json=QUESTION))
            await until(lambda: engine.in_flight == 1)
            asked.cancel()
            await until(lambda: engine.in_flight == 0)
        assert (await client.post("/v1/query", json={"query": "a", "max_tokens": 2})).status_code == 200
