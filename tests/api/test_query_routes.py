"""/v1/query and /v1/compare: what a mode adds can be read in the echo."""

import asyncio
from typing import Any

import httpx
import pytest

from ragtune.errors import InvalidRequest
from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.fakes import EchoEngine


async def query(client: httpx.AsyncClient, text: str, mode: str = "base", **body: Any) -> Any:
    response = await client.post("/v1/query", json={"query": text, "mode": mode, "max_tokens": 400, **body})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_question_to_the_base_model(client: httpx.AsyncClient) -> None:
    answer = await query(client, "Why?")
    assert (answer["text"], answer["mode"], answer["resolved_mode"], answer["versions"]) == (
        *("user\nWhy?", "base", "base"),
        {},
    )
    assert answer["usage"] == {
        "prompt_tokens": len("?user\nWhy??\n?assistant\n"),
        "completion_tokens": len("?user\nWhy?"),
        "cached_tokens": 0,
        "virtual_tokens": 0,
    }
    assert 0 <= answer["timings"]["first_token_ms"] <= answer["timings"]["total_ms"]


async def test_a_template_shapes_the_prompt(client: httpx.AsyncClient) -> None:
    assert (await query(client, "Why", "prompt:shouting"))["text"] == "user\nWhy!"
    assert (await query(client, "Why", "prompt:brief"))["text"] == "system\nBe brief."


async def test_retrieved_passages_stand_in_the_prompt_and_in_the_answer(client: httpx.AsyncClient) -> None:
    answer = await query(client, "zzz", "rag", top_k=2)
    assert answer["text"].startswith("user\nPassages:\n\n[1] colours\nzzz zzz zzz zzz\n\n[2] ")
    assert answer["text"].endswith("\n\nQuestion: zzz Answer in the words of the passages above.")
    assert answer["versions"] == {"index": "handbook@1"}
    first = answer["passages"][0]
    assert (first["number"], first["document"], first["start"], first["end"]) == (1, "colours.txt", 0, 15)
    assert first["score"] > answer["passages"][1]["score"]
    assert answer["passages_retrieved"] == 2


async def test_a_passage_is_cited_if_the_answer_names_its_number(client: httpx.AsyncClient) -> None:
    answer = await query(client, "zzz", "rag", top_k=2, max_tokens=40)
    assert "[1]" in answer["text"] and "[2]" not in answer["text"]
    assert [passage["cited"] for passage in answer["passages"]] == [True, False]


async def test_the_passages_keep_to_their_budget_and_what_was_left_out_shows(client: httpx.AsyncClient) -> None:
    answer = await query(client, "zzz", "rag", top_k=3, passage_tokens=40)
    assert (len(answer["passages"]), answer["passages_retrieved"]) == (1, 3)


async def test_a_budget_that_holds_no_passage_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/query", json={"query": "zzz", "mode": "rag", "passage_tokens": 16})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "incompatible_parts")


async def test_adapters_reach_the_engine_as_pinned_versions(call: Call, make_parts: Make) -> None:
    engine = EchoEngine()
    async with call(make_parts(engine)) as client:
        answer = await query(client, "Why?", "my-soft+my-lora+rag+prompt:brief")
    (generation,) = engine.generations
    assert generation.weights is not None and generation.weights.key.startswith("my-lora#")
    assert generation.prefix is not None and generation.prefix.kind == "soft_prompt"
    assert answer["usage"]["virtual_tokens"] == generation.prefix.virtual_tokens == 20
    assert answer["resolved_mode"] == "my-lora@1+my-soft@1+prompt:brief@1+rag:handbook@1"


async def test_text_that_looks_like_a_control_token_ends_no_turn(client: httpx.AsyncClient) -> None:
    answer = await query(client, "a<|im_end|>b")
    assert answer["text"] == "user\na< |im_end|>b"


async def test_modes_are_compared_in_the_order_asked(client: httpx.AsyncClient) -> None:
    modes = ["prompt:brief", "base", "my-lora", "base"]
    response = await client.post("/v1/compare", json={"query": "Why?", "modes": modes})
    answers = response.json()["answers"]
    assert [answer["mode"] for answer in answers] == modes
    assert [answer["text"] for answer in answers] == ["system\nBe brief.", *["user\nWhy?"] * 3]
    assert len({answer["id"] for answer in answers}) == 4


async def test_compared_modes_are_computed_together(call: Call, make_parts: Make) -> None:
    engine = EchoEngine(pace=0.005)
    async with call(make_parts(engine)) as client:
        body = {"query": "Why?", "modes": ["base", "my-lora", "my-soft"], "max_tokens": 8}
        asked = asyncio.create_task(client.post("/v1/compare", json=body))
        while not asked.done() and engine.in_flight < 3:
            await asyncio.sleep(0.001)
        assert engine.in_flight == 3
        assert (await asked).status_code == 200


async def test_if_one_mode_cannot_be_had_none_runs_on(client: httpx.AsyncClient, parts: Parts) -> None:
    response = await client.post("/v1/compare", json={"query": "Why?", "modes": ["base", "unknown-thing"]})
    assert response.status_code == 404
    assert parts.engine.in_flight == 0


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("query", {}, "query"),
        ("query", {"query": ""}, "query"),
        ("query", {"query": "a", "mod": "rag"}, "mod"),
        ("query", {"query": "a", "top_k": 0}, "top_k"),
        ("query", {"query": "a", "temperature": -1}, "temperature"),
        ("query", {"query": "a", "mode": "rag+rag"}, "mode"),
        ("compare", {"query": "a", "modes": []}, "modes"),
        ("compare", {"query": "a", "modes": ["base"] * 33}, "modes"),
    ],
)
async def test_a_mistake_in_the_body_names_the_field(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    response = await client.post(f"/v1/{path}", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (InvalidRequest.status, InvalidRequest.code)
    assert response.json()["error"]["param"] == param
