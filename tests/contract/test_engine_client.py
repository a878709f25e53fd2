"""The engine behind its process border, as the server sees it: streams, cancelling, limits, adapters, death."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ragtune.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFault,
    InvalidRequest,
    Overloaded,
    RefusedArtifact,
    Unavailable,
)
from ragtune.settings import Settings
from ragtune.wire import Sampling
from service.engine.client import EngineClient, Stream
from service.engine.messages import AdapterRef, Generation
from tests.equivalence.harness import make_ref
from tests.tiny import save_tiny, tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")
LONG = Sampling(max_tokens=400, ignore_eos=True)


def settings(**changes: object) -> Settings:
    return Settings(
        threads=1,
        kv_tokens=8192,
        max_model_len=512,
        max_running=4,
        max_waiting=2,
        **changes,  # type: ignore[arg-type]
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(folder: Path) -> AsyncIterator[EngineClient]:
    client = await EngineClient.start(settings(), folder)
    yield client
    await client.close()


def generation(name: str, sampling: Sampling | None = None, **options: object) -> Generation:
    sampling = sampling or Sampling(max_tokens=5, ignore_eos=True)
    return Generation(name, tuple(range(10, 30)), sampling, **options)  # type: ignore[arg-type]


async def collect(stream: Stream) -> list[int]:
    return [event.token_id async for event in stream]


async def eventually_idle(engine: EngineClient) -> None:
    async with asyncio.timeout(10):
        while (await engine.stats()).running:
            await asyncio.sleep(0.01)


async def test_a_stream_yields_its_tokens_and_says_how_it_ended(engine: EngineClient) -> None:
    stream = await engine.admit(generation("one"))
    tokens = await collect(stream)
    assert len(tokens) == 5
    assert stream.finish is not None
    assert (stream.finish.reason, stream.finish.prompt_tokens, stream.finish.completion_tokens) == ("length", 20, 5)
    assert stream.beginning is not None
    assert 0 <= stream.beginning.queue_ms <= stream.finish.first_token_ms


async def test_the_same_request_again_gives_the_same_tokens_from_cache(engine: EngineClient) -> None:
    first, second = [await engine.admit(generation(f"again-{i}")) for i in range(2)]
    assert await collect(first) == await collect(second)
    third = await engine.admit(generation("again-3"))
    await collect(third)
    assert third.beginning is not None and third.beginning.cached_tokens == 16


async def test_a_stop_token_is_not_yielded(engine: EngineClient) -> None:
    tokens = await collect(await engine.admit(generation("plain")))
    stop = Sampling(max_tokens=5, ignore_eos=True, stop_token_ids=(tokens[2],))
    stream = await engine.admit(generation("stopped", stop))
    assert await collect(stream) == tokens[: tokens.index(tokens[2])]
    assert stream.finish is not None and stream.finish.reason == "stop"


async def test_a_full_queue_is_answered_at_once(engine: EngineClient) -> None:
    streams = [await engine.admit(generation(f"full-{i}", LONG)) for i in range(6)]
    started = time.perf_counter()
    with pytest.raises(Overloaded):
        await engine.admit(generation("too-many"))
    assert time.perf_counter() - started < 0.05
    for stream in streams:
        stream.cancel()
        stream.cancel()
    await eventually_idle(engine)
    assert (await engine.stats()).kv_blocks_used == 0
    assert len(await collect(await engine.admit(generation("after")))) == 5


async def test_a_deadline_ends_a_generation(engine: EngineClient) -> None:
    stream = await engine.admit(generation("late", LONG, deadline=0.05))
    with pytest.raises(DeadlineExceeded):
        await collect(stream)
    await eventually_idle(engine)


async def test_what_cannot_fit_is_refused_with_both_numbers(engine: EngineClient) -> None:
    stream = await engine.admit(generation("long", Sampling(max_tokens=500)))
    with pytest.raises(ContextLengthExceeded, match=r"520 .* 512"):
        await collect(stream)


async def test_a_token_outside_the_vocabulary_is_refused(engine: EngineClient) -> None:
    stream = await engine.admit(Generation("odd", (5, 10**6)))
    with pytest.raises(InvalidRequest, match="token ids outside"):
        await collect(stream)


async def test_an_adapter_is_loaded_by_its_first_request_and_unloaded_on_demand(
    engine: EngineClient, tmp_path: Path
) -> None:
    ref = make_ref(tiny_model(), "plain", tmp_path / "plain")
    base = await collect(await engine.admit(generation("without", Sampling(max_tokens=8, ignore_eos=True))))
    mine = await collect(await engine.admit(generation("with", Sampling(max_tokens=8, ignore_eos=True), weights=ref)))
    assert mine != base
    assert ref.key in (await engine.stats()).adapters
    assert await engine.unload(ref.key) > 0
    stats = await engine.stats()
    assert ref.key not in stats.adapters and stats.adapter_bytes == 0


async def test_a_broken_adapter_fails_its_requests_and_nobody_elses(engine: EngineClient, tmp_path: Path) -> None:
    ref = AdapterRef("broken@1", tmp_path, "lora")
    broken = await engine.admit(generation("broken", weights=ref))
    fine = await engine.admit(generation("fine"))
    with pytest.raises(RefusedArtifact):
        await collect(broken)
    assert len(await collect(fine)) == 5
    with pytest.raises(RefusedArtifact):
        await engine.load(ref)


async def test_a_folder_without_a_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="could not start"):
        await EngineClient.start(settings(), tmp_path)


async def test_when_the_engine_dies_everyone_hears_of_it(folder: Path) -> None:
    client = await EngineClient.start(settings(), folder)
    stream = await client.admit(generation("dying", LONG))
    assert client._child.pid is not None
    os.kill(client._child.pid, signal.SIGKILL)
    with pytest.raises(EngineFault):
        await collect(stream)
    with pytest.raises(Unavailable):
        await client.admit(generation("after"))
    await client.close()


async def test_closing_waits_for_what_runs_up_to_the_drain_time(folder: Path) -> None:
    client = await EngineClient.start(settings(), folder)
    stream = await client.admit(generation("draining", Sampling(max_tokens=50, ignore_eos=True)))
    collected = asyncio.create_task(collect(stream))
    await client.close(drain=30)
    assert len(await collected) == 50
