"""What the OpenAI routes refuse: a 400 that names the field, of bounded size, without a path of the server."""

import json
from typing import Any

import httpx
import pytest

from tests.api.test_openai_routes import HELLO, chat, complete

USER = HELLO["messages"][0]


def refused(response: httpx.Response, param: str | None) -> str:
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_request")
    assert error["param"] == param, error
    assert len(response.content) < 4000 and "/site-packages" not in response.text
    return str(error["message"])


@pytest.mark.parametrize("ask", [chat, complete])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 10**400),
        ("seed", True),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", True),
        ("temperature", "warm"),
        ("top_p", 1.01),
        ("top_k", -2),
        ("top_k", 2**63),
        ("min_p", 1.5),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -2.01),
        ("repetition_penalty", 0),
        ("n", 0),
        ("n", 129),
        ("stop", 5),
        ("stop", ""),
        ("best_of", 3),
        ("n_predict", 5),
        ("top_n_sigma", 1),
        ("cache_salt", "x"),
        ("watermarking", True),
        ("id_slot", 2),
        ("stop", ["x"] * 17),
        ("stop_token_ids", [10**9]),
        ("stop_token_ids", [-1]),
        ("min_tokens", 10**6),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"999999": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", [1]),
        ("stream_options", {"include_usage": True}),
        ("deadline", 0),
        ("model", "m" * 600),
    ],
)
async def test_a_value_out_of_range_is_named(client: httpx.AsyncClient, ask: Any, field: str, value: object) -> None:
    message = refused(await ask(client, **{field: value}), field)
    assert field in message


@pytest.mark.parametrize(
    ("field", "place", "value"),
    [
        ("logit_bias", "logit_bias.5", {"5": 101}),
        ("logit_bias", "logit_bias.5", {"5": True}),
        ("stop", "stop.1", ["a", 5]),
        ("stop_token_ids", "stop_token_ids.2", [1, 2, 1.5]),
        ("stream_options", "stream_options.include_usage", {"include_usage": 1}),
        ("stream_options", "stream_options.include_obfuscation", {"include_obfuscation": True}),
        ("response_format", "response_format", {"type": "yaml"}),
        ("response_format", "response_format", {"type": "json_object", "schema": {"type": "object"}}),
        ("response_format", "response_format.json_schema.json_schema", {"type": "json_schema"}),
    ],
)
async def test_a_problem_inside_a_field_is_named_by_its_path(
    client: httpx.AsyncClient, field: str, place: str, value: object
) -> None:
    response = await chat(client, stream=True, **{field: value})
    assert refused(response, response.json()["error"]["param"])
    assert response.json()["error"]["param"].startswith(place.partition(".")[0])
    assert "str" not in response.json()["error"]["param"].split(".")


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([], "messages"),
        ([USER, {"role": "assistant", "content": None}], "messages.1.content"),
        ([{"role": "tool", "content": "x", "tool_call_id": "a"}], "messages.0.role"),
        ([{"role": "user"}], "messages.0.content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages.0.content.0.type",
        ),
        ([{"role": "assistant", "content": "x", "tool_calls": [{}]}, USER], "messages.0.tool_calls"),
        (["hello"], "messages.0"),
        ("hello", "messages"),
    ],
)
async def test_ill_formed_messages_are_named(client: httpx.AsyncClient, messages: object, place: str) -> None:
    refused(await chat(client, messages=messages), place)


async def test_a_name_is_taken_and_shown_to_nobody(client: httpx.AsyncClient) -> None:
    named = await chat(client, messages=[USER | {"name": "Ann"}])
    assert named.json()["choices"][0]["message"]["content"] == "user\nHello"


async def test_the_problem_of_a_list_is_told_not_that_it_is_no_text(client: httpx.AsyncClient) -> None:
    assert "at most 16" in refused(await chat(client, stop=["x"] * 17), "stop")
    assert "integer" in refused(await complete(client, prompt=[1, 2, 1.5]), "prompt.2")


@pytest.mark.parametrize("mode", ["prompt:", "rag:A", "my-lora@1@2", "nobody"])
async def test_a_problem_with_the_mode_is_one_with_the_model(client: httpx.AsyncClient, mode: str) -> None:
    response = await chat(client, model=mode)
    assert (response.status_code in (400, 404), response.json()["error"]["param"]) == (True, "model")


async def test_text_that_can_never_fit_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    for response in (
        await complete(client, prompt="x" * 1_000_000),
        await chat(client, messages=[USER | {"content": "x" * 1_000_000}]),
        await client.post("/tokenize", json={"prompt": "x" * 1_000_000}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_tools_are_taken_only_where_none_may_be_called(client: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert (await chat(client, tools=tools, tool_choice="none")).status_code == 200
    assert (await chat(client, tools=[], tool_choice=None)).status_code == 200
    refused(await chat(client, tools=tools), "tools")
    refused(await chat(client, tools=tools, tool_choice="auto"), "tool_choice")


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strin"}, "Invalid type"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "file:///etc/passwd"}, "not present"),
        ({"type": "string", "pattern": "("}, "regex"),
        (json.loads('{"items":' * 200 + "{}" + "}" * 200), "enforced"),
    ],
)
async def test_a_schema_that_cannot_be_enforced_is_refused(
    client: httpx.AsyncClient, schema: dict[str, Any], reason: str
) -> None:
    shaped = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    for ask in (chat, complete):
        message = refused(await ask(client, ignore_eos=False, response_format=shaped), "response_format")
        assert reason in message


async def test_what_contradicts_a_schema_is_refused(client: httpx.AsyncClient) -> None:
    for field, value in (("ignore_eos", True), ("min_tokens", 5)):
        refused(await chat(client, response_format={"type": "json_object"}, **{field: value}), field)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"model": "base", "prompt": "\\ud800", "max_tokens": 1}',
        b'{"model": "base", "prompt": "a", "temperature": NaN}',
        b'{"model": "base", "prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}",
        b'{"model": "base", "prompt": "a", "logit_bias": {"5": Infinity}}',
        b"\xff\xfe",
        b"",
        b"null",
        b'"text"',
    ],
)
async def test_bodies_that_are_not_what_they_should_be_are_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert len(response.content) < 3000


@pytest.mark.parametrize("ids", [[-5], [2**40]])
@pytest.mark.parametrize("mode", ["base", "rag"])
async def test_token_ids_no_model_has_are_a_400_in_every_mode(
    client: httpx.AsyncClient, mode: str, ids: list[int]
) -> None:
    assert "token ids outside" in refused(await complete(client, model=mode, prompt=ids), "prompt")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_wrong_content_type_is_a_400_that_names_the_right_one(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post("/v1/chat/completions", content=b"{}", headers={"content-type": kind})
    assert "application/json" in refused(response, None)


async def test_a_message_about_something_long_is_cut(client: httpx.AsyncClient) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "it", "schema": {"$ref": "#/" + "x" * 100_000}}}
    refused(await chat(client, response_format=schema), "response_format")
    refused(await chat(client, logit_bias={"9" * 100_000: 1}), "logit_bias")
