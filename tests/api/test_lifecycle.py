"""Starting and stopping: 503 while models load, draining on a signal, a port that is taken."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ragtune.errors import InvalidRequest
from ragtune.settings import Settings
from service.parts import Parts
from service.server import DrainingServer, serve_until_stopped
from service.starting import Doorway
from tests.api.conftest import Make
from tests.api.test_adapter_sources import packed
from tests.fakes import EchoEngine

QUESTION = {"query": "Hello", "max_tokens": 12}


@asynccontextmanager
async def started(server: DrainingServer) -> AsyncIterator[httpx.AsyncClient]:
    """The server on a free port, and a client of it; it must end by itself once the block is left."""
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url) as client:
            yield client
        await asyncio.wait_for(serving, 5)
    finally:
        server.should_exit = True
        await serving


async def in_flight(parts: Parts, number: int) -> None:
    async with asyncio.timeout(5):
        while parts.engine.in_flight != number:
            await asyncio.sleep(0.002)


@pytest.fixture
def no_handlers() -> object:
    """uvicorn raises the signals it took again when it has ended; here they must not end the tests."""
    before = {taken: signal.signal(taken, lambda *_: None) for taken in (signal.SIGTERM, signal.SIGINT)}
    yield
    for taken, handler in before.items():
        signal.signal(taken, handler)


async def test_while_the_models_load_everyone_is_told_to_come_back(make_parts: Make, no_handlers: object) -> None:
    server = DrainingServer(Doorway())
    async with started(server) as client:
        response = await client.post("/v1/query", json=QUESTION)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
        assert response.headers["retry-after"]
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
        server.open(make_parts())
        assert (await client.post("/v1/query", json=QUESTION)).status_code == 200
        server.handle_exit(signal.SIGTERM, None)


async def test_a_signal_before_anything_is_loaded_ends_at_once(no_handlers: object) -> None:
    server = DrainingServer(Doorway())
    async with started(server) as client:
        assert (await client.get("/readyz")).status_code == 503
        server.handle_exit(signal.SIGTERM, None)


async def test_a_signal_lets_what_runs_finish_and_refuses_what_is_new(make_parts: Make, no_handlers: object) -> None:
    parts = make_parts(EchoEngine(pace=0.05))
    server = DrainingServer(Doorway())
    server.open(parts)
    async with started(server) as client:
        stream = {"model": "base", "prompt": "abc", "max_tokens": 12, "ignore_eos": True, "stream": True}
        running = [
            asyncio.create_task(client.post("/v1/query", json=QUESTION)),
            asyncio.create_task(client.post("/v1/completions", json=stream)),
        ]
        await in_flight(parts, 2)
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.02)
        assert (await client.post("/v1/query", json=QUESTION)).status_code == 503
        assert (await client.get("/readyz")).status_code == 503
        answered, streamed = await asyncio.gather(*running)
    assert answered.json()["text"] == "user\nHello"
    assert "[DONE]" in streamed.text


async def test_a_signal_lets_an_upload_and_its_registration_finish(
    make_parts: Make, peft_folders: Path, no_handlers: object
) -> None:
    parts = make_parts()
    server = DrainingServer(Doorway())
    server.config.timeout_graceful_shutdown = 0
    server.open(parts)
    content = packed(peft_folders / "my-lora", "zip")

    async def pieces() -> AsyncIterator[bytes]:
        yield content[:1000]
        while not parts.lifecycle.running:
            await asyncio.sleep(0.002)
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.5)
        yield content[1000:]

    async with started(server) as client:
        headers = {"content-type": "application/zip"}
        response = await client.put("/v1/adapters/last-minute", content=pieces(), headers=headers, timeout=60)
    assert (response.status_code, response.json()["version"]) == (200, "last-minute@1")
    assert parts.lifecycle.running == 0


async def test_what_does_not_finish_in_time_is_given_up(make_parts: Make, no_handlers: object) -> None:
    parts = make_parts(EchoEngine(pace=1.0), drain=0.1)
    server = DrainingServer(Doorway())
    server.config.timeout_graceful_shutdown = 0
    server.open(parts)
    async with started(server) as client:
        running = asyncio.create_task(client.post("/v1/query", json=QUESTION))
        await in_flight(parts, 1)
        server.handle_exit(signal.SIGTERM, None)
        with pytest.raises(httpx.HTTPError):
            (await running).raise_for_status()
    assert parts.engine.in_flight == 0


def test_a_port_that_is_taken_is_said_before_anything_loads(tmp_path: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidRequest, match=rf"cannot listen on 127.0.0.1:{port}: .*--port or RAGTUNE_PORT"):
            serve_until_stopped(Settings(port=port))
