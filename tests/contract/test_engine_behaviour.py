"""What the service relies on, run against the real engine process and the echoing fake: so the fake stays honest."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ragtune.errors import ContextLengthExceeded, DeadlineExceeded, InvalidRequest, Overloaded, RefusedArtifact
from ragtune.settings import Settings
from ragtune.wire import Sampling
from service.engine.client import EngineClient, Stream
from service.engine.messages import AdapterRef, Generation, Logprobs
from service.parts import Engine
from tests.equivalence.harness import make_ref
from tests.fakes import EchoEngine
from tests.tiny import save_tiny, tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")
FIVE = Sampling(max_tokens=5, ignore_eos=True)
LONG = Sampling(max_tokens=400, ignore_eos=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["real", "echo"])
async def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    if request.param == "echo":
        yield EchoEngine(max_model_len=512, slots=2, waiting=2, pace=0.001)
        return
    settings = Settings(threads=1, kv_tokens=4096, max_model_len=512, max_running=2, max_waiting=2)
    client = await EngineClient.start(settings, save_tiny(tmp_path_factory.mktemp("base")))
    yield client
    await client.close()


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    return make_ref(tiny_model(), "plain", tmp_path_factory.mktemp("plain"))


def generation(name: str, sampling: Sampling = FIVE, **options: object) -> Generation:
    return Generation(name, tuple(range(10, 30)), sampling, **options)  # type: ignore[arg-type]


async def collect(stream: Stream) -> list[int]:
    return [event.token_id async for event in stream]


def scores(stream: Stream) -> tuple[Logprobs, ...]:
    assert stream.beginning is not None
    return stream.beginning.scores


async def idle(engine: Engine) -> None:
    async with asyncio.timeout(10):
        while engine.in_flight or (await engine.stats()).running:
            await asyncio.sleep(0.005)


async def test_a_stream_yields_its_tokens_and_then_says_how_it_ended(engine: Engine) -> None:
    stream = await engine.admit(generation("counts"))
    assert stream.finish is None
    assert len(await collect(stream)) == 5
    finish = stream.finish
    assert finish is not None
    assert (finish.reason, finish.prompt_tokens, finish.completion_tokens) == ("length", 20, 5)
    assert (finish.virtual_tokens, engine.in_flight) == (0, 0)


async def test_end_of_sequence_and_stop_tokens_end_a_stream_and_are_not_yielded(engine: Engine) -> None:
    tokens = await collect(await engine.admit(generation("plain")))
    stop = tokens[2]
    for name, options in (
        ("eos", {"sampling": Sampling(max_tokens=5), "eos_ids": (stop,)}),
        ("stop", {"sampling": Sampling(max_tokens=5, ignore_eos=True, stop_token_ids=(stop,))}),
    ):
        stream = await engine.admit(generation(name, **options))  # type: ignore[arg-type]
        assert await collect(stream) == tokens[: tokens.index(stop)]
        assert stream.finish is not None and stream.finish.reason == "stop"


async def test_log_probabilities_come_with_every_token_and_scores_before_the_first(engine: Engine) -> None:
    told = FIVE.model_copy(update={"logprobs": 2, "score_prompt": True})
    stream = await engine.admit(generation("scored", told))
    first = await anext(aiter(stream))
    assert len(scores(stream)) == 19
    events = [first, *[event async for event in stream]]
    assert len(events) == 5
    for logprobs in (*scores(stream), *(event.logprobs for event in events)):
        assert logprobs is not None and len(logprobs.best) == 2
        assert logprobs.chosen <= logprobs.best[0][1] <= 0
    assert all(event.logprobs is None for event in [e async for e in await engine.admit(generation("untold"))])


async def test_a_token_that_ends_a_stream_is_told_where_log_probabilities_are(engine: Engine) -> None:
    tokens = await collect(await engine.admit(generation("before")))
    stop = FIVE.model_copy(update={"stop_token_ids": (tokens[2],), "logprobs": 0})
    events = [event async for event in await engine.admit(generation("ended", stop))]
    assert [(event.token_id, event.ends) for event in events[-1:]] == [(tokens[2], True)]
    assert [event.token_id for event in events[:-1]] == tokens[: tokens.index(tokens[2])]


async def test_no_token_at_all_may_be_asked_for(engine: Engine) -> None:
    stream = await engine.admit(generation("none", Sampling(max_tokens=0, score_prompt=True)))
    assert await collect(stream) == []
    assert len(scores(stream)) == 19
    finish = stream.finish
    assert finish is not None and (finish.reason, finish.completion_tokens) == ("length", 0)


async def test_an_ignored_end_of_sequence_is_a_token_like_any_other(engine: Engine) -> None:
    tokens = await collect(await engine.admit(generation("plain-again")))
    assert await collect(await engine.admit(generation("ignoring", eos_ids=(tokens[0],)))) == tokens


async def test_a_full_queue_refuses_at_once_and_cancelling_makes_room(engine: Engine) -> None:
    streams = [await engine.admit(generation(f"full-{i}", LONG)) for i in range(4)]
    with pytest.raises(Overloaded):
        await engine.admit(generation("too-many"))
    for stream in streams:
        stream.cancel()
        stream.cancel()
    await idle(engine)
    assert len(await collect(await engine.admit(generation("after")))) == 5


async def test_a_deadline_ends_a_stream(engine: Engine) -> None:
    with pytest.raises(DeadlineExceeded):
        await collect(await engine.admit(generation("late", LONG, deadline=0.02)))
    await idle(engine)


async def test_prompts_that_cannot_be_served_fail_alone(engine: Engine) -> None:
    fine = await engine.admit(generation("fine"))
    for request, error in (
        (generation("long", Sampling(max_tokens=500)), ContextLengthExceeded),
        (Generation("odd", (5, 10**6), FIVE), InvalidRequest),
        (Generation("empty", (), FIVE), InvalidRequest),
    ):
        with pytest.raises(error):
            await collect(await engine.admit(request))
    assert len(await collect(fine)) == 5


async def test_virtual_tokens_fill_the_window(engine: Engine, tmp_path: Path) -> None:
    soft = make_ref(tiny_model(), "soft", tmp_path)
    room = engine.info.max_model_len - 20 - soft.virtual_tokens
    for new, fits in ((room, True), (room + 1, False)):
        stream = await engine.admit(generation(f"virtual-{new}", Sampling(max_tokens=new), prefix=soft))
        if fits:
            stream.cancel()
        else:
            with pytest.raises(ContextLengthExceeded):
                await collect(stream)


async def test_an_adapter_is_loaded_by_use_and_unloaded_when_nobody_uses_it(engine: Engine, lora: AdapterRef) -> None:
    stream = await engine.admit(generation("with", FIVE, weights=lora))
    first = await anext(aiter(stream))
    assert first.token_id >= 0
    assert lora.key in (await engine.stats()).adapters
    assert await engine.unload(lora.key) > 0
    assert lora.key not in (await engine.stats()).adapters
    assert await engine.unload(lora.key) == 0


async def test_an_adapter_that_cannot_be_read_is_refused(engine: Engine, tmp_path: Path) -> None:
    broken = AdapterRef("broken@1", tmp_path, "lora")
    with pytest.raises(RefusedArtifact):
        await engine.load(broken)
    with pytest.raises(RefusedArtifact):
        await collect(await engine.admit(generation("broken", weights=broken)))
