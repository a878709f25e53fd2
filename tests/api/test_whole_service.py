"""HTTP over the real engine process, on a tiny model: all modes at once, and adapters that come while streams run."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from peft import LoraConfig, get_peft_model
from pydantic import BaseModel, Field, SecretStr

from adapters.base_model import BaseModelInfo
from ragtune.settings import Settings
from service.engine.client import EngineClient
from service.parts import Parts
from tests.api.conftest import Make
from tests.tiny import tiny_model

MODES = ["base", "rag", "my-lora", "other-lora+rag", "my-soft", "my-prefix", "my-lora+my-soft", "prompt:brief+rag"]
STREAM = {"max_tokens": 400, "temperature": 0, "ignore_eos": True, "stream": True}


@pytest.fixture
async def parts(make_parts: Make, settings: Settings, base: BaseModelInfo) -> AsyncIterator[Parts]:
    """Parts over an engine process."""
    limits = settings.model_copy(update={"threads": 1, "kv_tokens": 16384, "max_model_len": 1024, "deadline": 60.0})
    engine = await EngineClient.start(limits, base.folder)
    yield make_parts(engine, deadline=60.0)
    await engine.close()


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        yield client


async def stream(client: httpx.AsyncClient, mode: str, number: int) -> int:
    """Read one stream to its end; the tokens it says it generated."""
    body = STREAM | {"model": mode, "messages": [{"role": "user", "content": f"Story {number}"}]}
    body["stream_options"] = {"include_usage": True}
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        events = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    assert events[-1] == "[DONE]", events[-1]
    return int(json.loads(events[-2])["usage"]["completion_tokens"])


def lora(folder: Path, rank: int) -> Path:
    """A new LoRA."""
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_model(), config).save_pretrained(folder)
    return folder


class Tool(BaseModel):
    """What a client wants to get."""

    kind: Literal["pump", "drill"]
    floor: int = Field(ge=1, le=9)
    sizes: list[bool] = Field(max_length=2)


async def test_the_clients_own_ways_to_ask_for_a_pydantic_model_work_in_every_mode(url: str) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai:
        for mode in MODES:
            parsed = await openai.chat.completions.parse(
                model=mode, messages=[{"role": "user", "content": "zzz?"}], response_format=Tool, max_tokens=100, seed=1
            )
            assert isinstance(parsed.choices[0].message.parsed, Tool)
    chat = ChatOpenAI(model="my-lora+rag", base_url=f"{url}/v1", api_key=SecretStr("none"), max_retries=0)
    assert isinstance(await chat.with_structured_output(Tool, method="json_schema").ainvoke("zzz?"), Tool)


async def test_compare_answers_all_modes_in_one_batch_as_query_does_alone(client: httpx.AsyncClient) -> None:
    question = {"query": "zzz or abc?", "max_tokens": 8}
    compared = (await client.post("/v1/compare", json=question | {"modes": MODES})).json()["answers"]
    alone = [(await client.post("/v1/query", json=question | {"mode": mode})).json() for mode in MODES]
    assert [a["resolved_mode"] for a in compared] == [a["resolved_mode"] for a in alone]
    assert [a["text"] for a in compared] == [a["text"] for a in alone]
    assert [a["usage"]["prompt_tokens"] for a in compared] == [a["usage"]["prompt_tokens"] for a in alone]
    assert len({a["text"] for a in compared}) > len(MODES) // 2  # else the modes would not differ at all


async def test_registering_adapters_while_16_streams_run_fails_none_and_the_next_request_has_them(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path
) -> None:
    folders = [lora(peft_folders / f"fresh-{rank}", rank) for rank in (2, 3, 4)]
    streams = [asyncio.create_task(stream(client, MODES[n % len(MODES)], n)) for n in range(16)]
    while parts.engine.in_flight < 16:
        await asyncio.sleep(0.002)
    for number, folder in enumerate(folders, start=1):
        put = await client.put("/v1/adapters/arriving", json={"path": str(folder)})
        assert put.json()["version"] == f"arriving@{number}", put.text
        answer = await client.post("/v1/query", json={"query": "Now?", "mode": "arriving", "max_tokens": 2})
        assert answer.json()["resolved_mode"] == f"arriving@{number}"
    assert not any(task.done() for task in streams), "the streams ended too early to prove anything"
    assert await asyncio.gather(*streams) == [400] * 16
    loaded = [key for key in (await parts.engine.stats()).adapters if key.startswith("arriving#")]
    assert len(loaded) == 3, "there is room for all of them"
    await client.delete("/v1/adapters/arriving")
    assert not any(key.startswith("arriving#") for key in (await parts.engine.stats()).adapters)
