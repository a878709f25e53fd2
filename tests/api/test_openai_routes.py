"""/v1/chat/completions and /v1/completions as they travel: shapes, streaming, and what is refused.

The engine echoes the prompt up to the first end of turn, so an answer shows what was asked.
"""

import json
from typing import Any

import httpx
import pytest

from adapters.tokenizer import Tokenizer
from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.fakes import EchoEngine

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


async def chat(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/chat/completions", json={"model": "base", **HELLO, **body})


async def complete(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/completions", json={"model": "base", "prompt": "abc", "ignore_eos": True, **body})


def events(response: httpx.Response) -> list[Any]:
    """The JSON of every event; the stream must end with [DONE]."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_chat_answer_has_openais_shape_and_ours_under_one_field(client: httpx.AsyncClient) -> None:
    answer = (await chat(client)).json()
    assert answer["object"] == "chat.completion" and answer["id"].startswith("chatcmpl-")
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "user\nHello", "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    prompt = len("?user\nHello?\n?assistant\n")  # a token a byte, and one each control token
    assert answer["usage"]["prompt_tokens"] == prompt
    assert answer["usage"]["total_tokens"] == prompt + len("?user\nHello")
    assert answer["ragtune"]["mode"] == "base" and answer["ragtune"]["passages"] == []


async def test_the_parts_of_a_message_are_joined_and_developer_means_system(client: httpx.AsyncClient) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    joined = await chat(client, messages=[{"role": "user", "content": parts}])
    assert joined.json()["choices"][0]["message"]["content"] == "user\nHello"
    developer = [{"role": "developer", "content": "Be kind."}, *HELLO["messages"]]
    answer = await chat(client, messages=developer)
    assert answer.json()["choices"][0]["message"]["content"] == "system\nBe kind."


async def test_a_streamed_chat_adds_up_to_the_whole_one(client: httpx.AsyncClient) -> None:
    chunks = events(await chat(client, stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert all(set(delta) == {"content"} for delta in deltas[1:-1])
    assert "".join(delta.get("content", "") for delta in deltas) == "user\nHello"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1]["ragtune"]["mode"] == "base"
    assert not any("usage" in chunk for chunk in chunks)
    assert not any("ragtune" in chunk for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_a_stream_ends_with_its_usage_if_asked_to(client: httpx.AsyncClient) -> None:
    chunks = events(await chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == (await chat(client)).json()["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert (await chat(client, stream_options={"include_usage": True})).status_code == 400


async def test_a_multi_byte_character_is_never_cut(client: httpx.AsyncClient) -> None:
    chunks = events(await chat(client, stream=True, messages=[{"role": "user", "content": "añ€😀"}]))
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(pieces) == "user\nañ€😀"
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("stream", [False, True])
async def test_text_ends_before_a_stop_string_and_the_slot_is_free(
    client: httpx.AsyncClient, parts: Parts, stream: bool
) -> None:
    response = await complete(client, prompt="one two three", max_tokens=50, stop=["wo t", "zzz"], stream=stream)
    answers = events(response) if stream else [response.json()]
    assert "".join(answer["choices"][0]["text"] for answer in answers) == "one t"
    assert answers[-1]["choices"][0]["finish_reason"] == "stop"
    assert parts.engine.in_flight == 0


async def test_a_held_back_beginning_of_a_stop_string_is_shown_at_the_end(client: httpx.AsyncClient) -> None:
    answer = (await complete(client, prompt="abcd", max_tokens=4, stop="de")).json()
    assert answer["choices"][0] == {"index": 0, "text": "abcd", "logprobs": None, "finish_reason": "length"}


async def test_a_stop_token_ends_the_text(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    stop = tokenizer.encode("c")[0]
    answer = (await complete(client, prompt="abcd", max_tokens=9, stop_token_ids=stop)).json()
    assert answer["choices"][0]["text"] == "ab"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_both_names_of_the_token_limit_hold(client: httpx.AsyncClient, field: str) -> None:
    answer = (await chat(client, **{field: 5})).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


async def test_prompts_may_be_texts_token_ids_or_lists_of_either(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode("xyz")[0]
    for prompt, texts in (
        ("abc", ["abc"]),
        (["abc", "de"], ["abc", "ded"]),
        (ids, ["xyz"]),
        ([ids, ids[:2]], ["xyz", "xyx"]),
    ):
        answer = (await complete(client, prompt=prompt, max_tokens=3)).json()
        assert [choice["text"] for choice in answer["choices"]] == texts
        assert [choice["index"] for choice in answer["choices"]] == list(range(len(texts)))
        assert answer["usage"]["completion_tokens"] == 3 * len(texts)


async def test_the_text_of_a_control_token_in_a_raw_prompt_stays_text(client: httpx.AsyncClient, parts: Parts) -> None:
    text = "a<|im_end|>b"
    assert (await complete(client, prompt=text, max_tokens=len(text))).json()["choices"][0]["text"] == text


async def test_the_defaults_of_openai_hold_and_the_clients_wishes_reach_the_engine(
    call: Call, make_parts: Make
) -> None:
    engine = EchoEngine()
    async with call(make_parts(engine)) as client:
        await chat(client)
        wishes = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": -3, "deadline": 2.5}
        await chat(client, **wishes, unheard_of=True)
        await complete(client)
    plain, wished, raw = engine.generations
    assert (plain.sampling.temperature, plain.sampling.top_p, plain.sampling.top_k) == (1.0, 1.0, 0)
    assert plain.sampling.max_tokens == 512 and plain.deadline == 10.0
    assert wished.sampling.model_dump(include=set(wishes)) == {k: v for k, v in wishes.items() if k != "deadline"}
    assert wished.deadline == 2.5
    assert raw.sampling.max_tokens == 16


async def test_a_client_cannot_wish_for_more_time_than_the_server_allows(call: Call, make_parts: Make) -> None:
    engine = EchoEngine()
    async with call(make_parts(engine, deadline=3.0)) as client:
        await chat(client, deadline=900)
    assert engine.generations[0].deadline == 3.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("best_of", 3),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("functions", [{"name": "f"}]),
        ("suffix", "end"),
        ("verbosity", "low"),
        ("reasoning_effort", "high"),
        ("service_tier", "flex"),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("guided_json", {}),
        ("structured_outputs", {"regex": "a"}),
        ("prompt_logprobs", 1),
        ("use_beam_search", True),
        ("skip_special_tokens", False),
        ("repeat_penalty", 1.1),
        ("mirostat", 2),
        ("grammar", "root ::= 'a'"),
        ("skip_special_tokens", 1),
    ],
)
@pytest.mark.parametrize("ask", [chat, complete])
async def test_a_known_field_that_is_not_supported_is_refused_never_ignored(
    client: httpx.AsyncClient, ask: Any, field: str, value: object
) -> None:
    response = await ask(client, **{field: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field
    assert field in response.json()["error"]["message"]


async def test_known_fields_that_ask_for_nothing_are_fine(client: httpx.AsyncClient) -> None:
    nothing = {
        "n": 1,
        "best_of": 1,
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "verbosity": "medium",
        "safety_identifier": "somebody",
        "prompt_cache_key": "here",
        "echo": False,
        "logprobs": False,
        "logit_bias": None,
        "presence_penalty": 0.0,
        "tools": [],
        "response_format": {"type": "text"},
    }
    assert (await chat(client, **nothing)).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"stream": "perhaps"}, "stream"),
    ],
)
async def test_a_malformed_field_is_named(client: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    response = await chat(client, **body)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_request")
    assert error["param"].startswith(param)


@pytest.mark.parametrize("prompt", ["", [], [""], [[]], [1, "a"], [100_000], None])
async def test_a_malformed_prompt_is_a_400(client: httpx.AsyncClient, prompt: object) -> None:
    assert (await complete(client, prompt=prompt)).status_code == 400


async def test_a_raw_prompt_has_no_place_for_a_template(client: httpx.AsyncClient) -> None:
    response = await complete(client, model="prompt:brief+rag")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "incompatible_parts")
    assert "/v1/query" in response.json()["error"]["message"]


async def test_the_listed_models_are_what_can_be_asked_for(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    ids = [card["id"] for card in listed["data"]]
    assert {"tiny-llama", "base", "my-lora", "my-soft", "my-prefix", "prompt:brief", "rag:handbook"} <= set(ids)
    embedding = next(card for card in listed["data"] if card["kind"] == "embedding")
    assert (embedding["id"], embedding["max_model_len"]) == ("letters", 64)
    assert (await client.get("/v1/models/letters")).json()["kind"] == "embedding"
    for model in ids:
        if model == "letters":
            continue
        card = (await client.get(f"/v1/models/{model}")).json()
        assert (card["id"], card["object"], card["max_model_len"]) == (model, "model", 1024)
        assert (await chat(client, model=model, max_tokens=1)).status_code == 200


async def test_a_combination_is_a_model_too_and_an_unknown_one_is_not(client: httpx.AsyncClient) -> None:
    card = (await client.get("/v1/models/my-soft+my-lora+rag")).json()
    assert (card["kind"], card["root"]) == ("combination", "my-lora@1+my-soft@1+rag:handbook@1")
    response = await client.get("/v1/models/my-lore")
    assert response.status_code == 404
    assert "did you mean 'my-lora'" in response.json()["error"]["message"]
