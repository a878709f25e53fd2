"""A name that comes to mean other bytes, over HTTP and the real engine: nobody ever meets KV of the old ones."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from torch import Tensor

from adapters.base_model import BaseModelInfo
from ragtune.settings import Settings
from service.engine.client import EngineClient
from service.engine.messages import AdapterRef
from service.parts import Parts
from tests.api.conftest import Make
from tests.equivalence.harness import ADAPTERS, TOLERANCE, Reference, make_adapter, make_checkpoint
from tests.tiny import tiny_model

PROMPT = "What does the warranty of the pump cover, and for how long? " * 3


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
async def parts(make_parts: Make, settings: Settings, base: BaseModelInfo, tmp_path: Path) -> AsyncIterator[Parts]:
    """Parts over an engine process, prefix cache on; adapters may come from this test's own folder."""
    limits = settings.model_copy(update={"threads": 1, "kv_tokens": 16384, "max_model_len": 1024})
    engine = await EngineClient.start(limits, base.folder)
    parts = make_parts(engine, adapter_roots=(tmp_path,))
    yield parts
    await engine.close()


async def ask(client: httpx.AsyncClient, mode: str) -> tuple[list[float], int, str]:
    """(log-probabilities of a greedy answer, cached tokens, resolved mode)."""
    body = {"model": mode, "prompt": PROMPT, "max_tokens": 6, "temperature": 0, "logprobs": 1, "ignore_eos": True}
    response = await client.post("/v1/completions", json=body)
    answer = response.raise_for_status().json()
    logprobs: list[float] = answer["choices"][0]["logprobs"]["token_logprobs"]
    return logprobs, answer["usage"]["prompt_tokens_details"]["cached_tokens"], answer["ragtune"]["mode"]


async def put(client: httpx.AsyncClient, name: str, path: Path) -> None:
    (await client.put(f"/v1/adapters/{name}", json={"path": str(path)})).raise_for_status()


def expected(parts: Parts, name: str, source: Path, kind: str) -> list[float]:
    """What PEFT or transformers gives along its own greedy answer, for the bytes that lie in `source` now."""
    ids = list(parts.tokenizer.encode_completion(PROMPT))
    reference = Reference(tiny_model, {kind: served(parts, name)}, {kind: source})
    found: list[float] = []
    for _ in range(6):
        after: Tensor = reference.logits(kind, ids)[-1].log_softmax(dim=-1)
        ids.append(int(after.argmax()))
        found.append(after.max().item())
    return found


def served(parts: Parts, name: str) -> AdapterRef:
    """What the name means now, as the engine knows it."""
    configuration = parts.catalog.resolve(name)
    ref = configuration.weights or configuration.prefix
    assert ref is not None
    return ref


def make(kind: str, folder: Path, scale: float) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return (make_adapter if kind in ADAPTERS else make_checkpoint)(tiny_model(), kind, folder, scale)


@pytest.mark.parametrize("kind", ["plain", "dressed", "oft", "soft", "prefix", "partial"])
async def test_new_bytes_under_the_same_name_and_path_never_meet_the_old_ones_kv(
    client: httpx.AsyncClient, parts: Parts, tmp_path: Path, kind: str
) -> None:
    path, name = tmp_path / "adapter", f"swapped-{kind}"
    await put(client, name, make(kind, path, 0.1))
    old = expected(parts, name, path, kind)
    first, _, _ = await ask(client, name)
    again, cached, resolved = await ask(client, name)
    assert cached > 100 and resolved == f"{name}@1"
    await put(client, name, make(kind, path, 0.2))
    new = expected(parts, name, path, kind)
    swapped, cached, resolved = await ask(client, name)
    assert cached == 0 and resolved == f"{name}@2"
    assert max(abs(a - b) for a, b in zip(swapped, new, strict=True)) < TOLERANCE
    assert max(abs(a - b) for a, b in zip(swapped, first, strict=True)) > 100 * TOLERANCE
    (await client.post(f"/v1/adapters/{name}/rollback", json={})).raise_for_status()
    back, cached, resolved = await ask(client, name)
    assert cached > 100 and resolved == f"{name}@1"  # the old bytes' own KV is as good as ever
    for answer in (first, again, back):
        assert max(abs(a - b) for a, b in zip(answer, old, strict=True)) < TOLERANCE


async def test_a_stream_that_began_before_a_replacement_ends_as_it_began(
    client: httpx.AsyncClient, parts: Parts, tmp_path: Path
) -> None:
    name = "streaming"
    await put(client, name, make("plain", tmp_path / "adapter", 0.1))
    body = {"model": name, "prompt": PROMPT, "max_tokens": 200, "temperature": 0, "ignore_eos": True}
    alone = (await client.post("/v1/completions", json=body)).json()["choices"][0]["text"]
    asked = asyncio.create_task(client.post("/v1/completions", json=body))
    while not parts.engine.in_flight:
        await asyncio.sleep(0.001)
    await put(client, name, make("plain", tmp_path / "adapter", 0.2))
    (await client.delete(f"/v1/adapters/{name}")).raise_for_status()  # waits for it
    answer = (await asked).json()
    assert answer["choices"][0]["text"] == alone and answer["ragtune"]["mode"] == f"{name}@1"
    assert (await parts.engine.stats()).adapter_bytes == 0
