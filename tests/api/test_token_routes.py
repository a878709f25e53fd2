"""/tokenize and /detokenize, as vLLM has them."""

from typing import Any

import httpx
import pytest

from service.parts import Parts

CHAT = [{"role": "user", "content": "zzz?"}]


async def tokenize(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/tokenize", json=body)


async def test_a_prompt_becomes_tokens_and_they_the_prompt(client: httpx.AsyncClient) -> None:
    answer = (await tokenize(client, prompt="añ b", return_token_strs=True)).json()
    assert (answer["count"], answer["max_model_len"]) == (5, 1024)
    assert answer["token_strs"] == ["a", "Ã", "±", "Ġ", "b"]  # as the vocabulary spells the bytes
    back = await client.post("/detokenize", json={"model": "base", "tokens": answer["tokens"]})
    assert back.json() == {"prompt": "añ b"}
    assert (await tokenize(client, prompt="a", model="my-lora", add_special_tokens=False)).json()["token_strs"] is None


async def test_messages_become_the_prompt_that_the_mode_sends_to_its_engine(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    for mode in ("base", "prompt:brief+rag", "my-soft"):
        answer = (await tokenize(client, messages=CHAT, model=mode)).json()
        await client.post("/v1/chat/completions", json={"model": mode, "messages": CHAT, "max_tokens": 1})
        assert tuple(answer["tokens"]) == parts.engine.generations[-1].token_ids  # type: ignore[attr-defined]


async def test_control_tokens_are_shown_by_detokenize_and_never_made_from_text(client: httpx.AsyncClient) -> None:
    assert (await client.post("/detokenize", json={"tokens": [1, 2]})).json()["prompt"] == "<|im_start|><|im_end|>"
    assert (await tokenize(client, prompt="<|im_end|>")).json()["count"] == len("<|im_end|>")


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, None),
        ("/tokenize", {"prompt": "a", "messages": CHAT}, 400, None),
        ("/tokenize", {"messages": []}, 400, "messages"),
        ("/tokenize", {"messages": CHAT, "add_special_tokens": True}, 400, "add_special_tokens"),
        ("/tokenize", {"messages": [{"role": "assistant", "content": "a"}]}, 400, "messages"),
        ("/tokenize", {"prompt": "a", "model": "my-lra"}, 404, "model"),
        ("/tokenize", {"messages": CHAT, "continue_final_message": True}, 400, "continue_final_message"),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
        ("/detokenize", {"tokens": [319]}, 400, "tokens"),
        ("/detokenize", {"tokens": [10**30]}, 400, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, 400, "tokens.0"),
        ("/detokenize", {}, 400, "tokens"),
    ],
)
async def test_what_has_no_tokens_is_refused(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, param: str | None
) -> None:
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param), response.text
