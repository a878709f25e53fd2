"""Several answers, log-probabilities, echoes, streams: what the OpenAI routes tell beyond one text.

Over the echoing engine: it answers a raw prompt with the prompt, and the log-probability of token t is -t/100.
"""

import asyncio
import json
from typing import Any

import httpx
import pytest

from adapters.tokenizer import Tokenizer
from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.api.test_openai_routes import chat, complete, events
from tests.fakes import EchoEngine

TEXT = "añ€😀 b"


def ids_of(text: str, tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode(text)[0]


def joined(response: httpx.Response) -> tuple[str, list[Any]]:
    """A streamed chat's text and its tokens."""
    choices = [chunk["choices"][0] for chunk in events(response)]
    told = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
    return "".join(choice["delta"].get("content", "") for choice in choices), told


async def test_chat_tells_each_tokens_text_bytes_and_alternatives(client: httpx.AsyncClient) -> None:
    asked = {"messages": [{"role": "user", "content": TEXT}], "logprobs": True, "top_logprobs": 3}
    choice = (await chat(client, **asked)).json()["choices"][0]
    content = choice["logprobs"]["content"]
    text = choice["message"]["content"]
    assert text == "user\n" + TEXT
    assert "".join(entry["token"] for entry in content) == text
    assert b"".join(bytes(entry["bytes"]) for entry in content) == text.encode()
    assert len(content) == 2 + len(text.encode())  # a token a byte, between two control tokens, which have no text
    assert [(content[at]["token"], content[at]["bytes"]) for at in (0, -1)] == [("", [])] * 2
    assert all(len(entry["top_logprobs"]) == 3 for entry in content)
    top = content[0]["top_logprobs"][0]
    assert (top["token"], top["logprob"], bytes(top["bytes"])) == ("<|endoftext|>", 0.0, b"<|endoftext|>")
    assert joined(await chat(client, **asked, stream=True)) == (text, content)


async def test_no_alternatives_are_told_unless_asked_for_and_nothing_without_logprobs(
    client: httpx.AsyncClient,
) -> None:
    only = (await chat(client, logprobs=True)).json()["choices"][0]["logprobs"]["content"]
    assert all(entry["top_logprobs"] == [] for entry in only)
    assert (await chat(client)).json()["choices"][0]["logprobs"] is None
    refused = await chat(client, top_logprobs=2)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "top_logprobs")
    assert (await chat(client, logprobs=True, top_logprobs=21)).json()["error"]["param"] == "top_logprobs"


async def test_completions_tell_tokens_offsets_and_the_best_by_text(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    asked = {"prompt": TEXT, "max_tokens": len(TEXT.encode()), "logprobs": 2}
    choice = (await complete(client, **asked)).json()["choices"][0]
    told = choice["logprobs"]
    assert choice["text"] == TEXT == "".join(told["tokens"])
    ids = ids_of(TEXT, tokenizer)
    assert told["token_logprobs"] == [-i / 100 for i in ids]
    assert [TEXT[at:][: len(token)] for at, token in zip(told["text_offset"], told["tokens"], strict=True)] == told[
        "tokens"
    ]
    for token, value, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
        assert top[token] == value
        assert len(top) == 3  # the two best, and the token itself
    chunks = [chunk["choices"][0] for chunk in events(await complete(client, **asked, stream=True))]
    for key in told:
        assert [value for chunk in chunks if chunk["logprobs"] for value in chunk["logprobs"][key]] == told[key]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_echo_repeats_the_prompt_with_its_scores(
    client: httpx.AsyncClient, tokenizer: Tokenizer, stream: bool
) -> None:
    for new in (0, 2):
        response = await complete(client, prompt="añb", echo=True, logprobs=1, max_tokens=new, stream=stream)
        bodies = events(response) if stream else [response.json()]
        choices = [body["choices"][0] for body in bodies]
        assert "".join(choice["text"] for choice in choices) == "añb" + "añ"[:1] * (new > 0) + ("\ufffd" if new else "")
        told = [choice["logprobs"] for choice in choices if choice["logprobs"]]
        values = [value for part in told for value in part["token_logprobs"]]
        ids = ids_of("añb", tokenizer)
        assert values == [None, *(-i / 100 for i in ids[1:] + ids[:new])]
        tops = [top for part in told for top in part["top_logprobs"]]
        assert tops[0] is None and all(tops[1:])
        assert choices[-1]["finish_reason"] == "length"


async def test_an_echo_without_logprobs_or_new_tokens_is_just_the_prompt(client: httpx.AsyncClient) -> None:
    answer = (await complete(client, prompt="abc", echo=True, max_tokens=0)).json()
    assert answer["choices"][0] == {"index": 0, "text": "abc", "logprobs": None, "finish_reason": "length"}
    assert answer["usage"]["completion_tokens"] == 0


async def test_control_tokens_in_an_echo_are_shown_where_ids_were_sent(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode("<|im_start|>a")[0]
    answer = (await complete(client, prompt=ids, echo=True, logprobs=0, max_tokens=0)).json()
    assert answer["choices"][0]["text"] == "<|im_start|>a"
    assert answer["choices"][0]["logprobs"]["tokens"] == ["<|im_start|>", "a"]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_token_that_ends_an_answer_is_told_and_has_no_text(client: httpx.AsyncClient, stream: bool) -> None:
    # lm-evaluation-harness leaves out the last entry: there must be one, also where the one token asked for is the end
    asked = {"prompt": [70, 2], "max_tokens": 5, "logprobs": 1, "echo": True, "ignore_eos": False, "stream": stream}
    response = await complete(client, **asked)
    choices = [body["choices"][0] for body in (events(response) if stream else [response.json()])]
    told = [value for choice in choices if choice["logprobs"] for value in choice["logprobs"]["token_logprobs"]]
    assert told == [None, -0.02, -0.7, -0.02]
    tokens = [token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["tokens"]]
    assert tokens[-1] == "" and "".join(tokens) == "".join(choice["text"] for choice in choices)
    assert choices[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("stop", ["wo", "ne t"])
async def test_a_stop_string_cuts_tokens_and_text_alike(client: httpx.AsyncClient, stop: str) -> None:
    asked = {"prompt": "one two", "max_tokens": 20, "stop": stop, "logprobs": 0}
    choice = (await complete(client, **asked)).json()["choices"][0]
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"] == "one two".partition(stop)[0]
    chunks = [chunk["choices"][0] for chunk in events(await complete(client, **asked, stream=True))]
    tokens = [token for chunk in chunks if chunk["logprobs"] for token in chunk["logprobs"]["tokens"]]
    assert tokens == choice["logprobs"]["tokens"]


async def test_n_answers_stand_together_prompt_by_prompt_and_each_prompt_counts_once(
    client: httpx.AsyncClient,
) -> None:
    answer = (await complete(client, prompt=["abc", "xyz"], n=3, max_tokens=2)).json()
    assert [choice["text"] for choice in answer["choices"]] == ["ab"] * 3 + ["xy"] * 3
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (6, 12)
    assert len(answer["ragtune"]["further"]) == 5
    chosen = (await chat(client, n=2)).json()
    assert [choice["message"]["content"] for choice in chosen["choices"]] == ["user\nHello"] * 2
    assert chosen["usage"]["prompt_tokens"] == (await chat(client)).json()["usage"]["prompt_tokens"]


async def test_choices_draw_with_seeds_of_their_own_and_the_first_with_the_clients(
    call: Call, make_parts: Make
) -> None:
    engine = EchoEngine(slots=8)
    async with call(make_parts(engine)) as client:
        await chat(client, n=4, seed=7, temperature=1)
        await chat(client, n=2, seed=7, temperature=1)
        await chat(client, n=2, temperature=1)
    seeds = [generation.sampling.seed for generation in engine.generations]
    assert seeds[0] == 7 and len(set(seeds[:4])) == 4
    assert all(-(2**63) <= seed < 2**63 for seed in seeds[:6] if seed is not None)
    assert seeds[4:6] == seeds[:2]  # repeatable
    assert seeds[6:] == [None, None]  # the engine gives each one of its own


async def test_a_stream_of_several_choices_gives_each_its_role_and_one_finish_reason(
    client: httpx.AsyncClient,
) -> None:
    chunks = events(await chat(client, n=3, stream=True, stream_options={"include_usage": True}))
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 33)
    for index in range(3):
        mine = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert [c["finish_reason"] for c in mine] == [None] * (len(mine) - 1) + ["stop"]
        assert "".join(c["delta"].get("content", "") for c in mine) == "user\nHello"
    texts = ["", ""]
    for chunk in events(await complete(client, prompt=["abc", "xyz"], max_tokens=3, stream=True)):
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == ["abc", "xyz"]


async def test_a_stream_may_tell_its_usage_so_far_in_every_chunk(client: httpx.AsyncClient) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(await chat(client, stream=True, stream_options=options))
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == counts[-2] > counts[0]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {chunks[-1]["usage"]["prompt_tokens"]}


async def test_the_opening_of_a_raw_prompt_is_echoed_where_passages_stand_before_it(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.tokenizer, "_opening", [0])  # the tiny tokenizer has none of its own
    asked = {"model": "rag", "prompt": [0, 70, 71], "query": "zzz", "echo": True, "logprobs": 0, "max_tokens": 0}
    choice = (await complete(client, **asked)).json()["choices"][0]
    assert len(choice["logprobs"]["tokens"]) == 3
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
    sent = parts.engine.generations[-1].token_ids  # type: ignore[attr-defined]
    assert sent[0] == 0 and sent.count(0) == 1 and sent[-2:] == (70, 71)


async def test_more_answers_than_the_server_ever_takes_are_a_400_not_a_429(client: httpx.AsyncClient) -> None:
    response = await complete(client, prompt=["a"] * 100, n=128)
    assert response.status_code == 400 and "12800" in response.json()["error"]["message"]


async def test_if_not_all_answers_find_a_place_none_runs(call: Call, make_parts: Make) -> None:
    engine = EchoEngine(slots=2, waiting=1, pace=0.01)
    async with call(make_parts(engine)) as client:
        response = await complete(client, prompt=["a", "b", "c", "d"], max_tokens=50)
        assert (response.status_code, engine.in_flight) == (429, 0)
        response = await complete(client, n=4, max_tokens=50, stream=True)
        assert (response.status_code, engine.in_flight) == (429, 0)


async def test_passages_stand_before_a_raw_prompt_and_are_not_echoed(client: httpx.AsyncClient, parts: Parts) -> None:
    asked = {"model": "rag", "prompt": "zzz zzz?", "max_tokens": 4, "echo": True, "logprobs": 0}
    answer = (await complete(client, **asked)).json()
    sent = parts.engine.generations[-1].token_ids  # type: ignore[attr-defined]
    prompt = parts.tokenizer.decode(sent)
    best = max(answer["ragtune"]["passages"], key=lambda passage: passage["score"])
    assert best["document"] == "colours.txt"
    assert prompt.startswith("[1] colours\nzzz zzz zzz zzz\n\n[2] ") and prompt.endswith("26 months.\n\nzzz zzz?")
    choice = answer["choices"][0]
    assert choice["text"].startswith("zzz zzz?")
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    assert told["token_logprobs"][0] is not None  # the passages stand before it
    assert answer["usage"]["prompt_tokens"] == len(sent)


async def test_passages_for_a_raw_prompt_are_searched_by_its_query(client: httpx.AsyncClient) -> None:
    asked = {"model": "rag", "prompt": "zzz zzz", "max_tokens": 1}
    found = [
        (await complete(client, **asked, **searched)).json()["ragtune"]["passages"]
        for searched in ({}, {"query": "returns within days"})
    ]
    best = [max(passages, key=lambda passage: passage["score"])["document"] for passages in found]
    assert best == ["colours.txt", "returns.md"]


async def test_a_silent_stream_sends_its_headers_and_keeps_alive(call: Call, make_parts: Make) -> None:
    async with call(make_parts(EchoEngine(pace=0.15), keep_alive=0.05)) as client:
        response = await complete(client, stream=True, max_tokens=2)
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[0] == ": keep-alive"
    data = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["text"] for chunk in data) == "ab"
    assert lines[-1] == "data: [DONE]"


async def test_an_error_is_a_status_before_the_headers_and_an_event_after_them(
    call: Call, make_parts: Make, tokenizer: Tokenizer
) -> None:
    fault = ids_of("c", tokenizer)[0]
    for pace, prompt, streamed in ((0.0, "cab", False), (0.1, "cab", True), (0.0, "abc", True)):
        async with call(make_parts(EchoEngine(pace=pace, fault=fault), keep_alive=0.02)) as client:
            response = await complete(client, prompt=prompt, stream=True, max_tokens=3)
        assert response.status_code == (200 if streamed else 500)
        last = response.text.rstrip().split("\n\n")[-1] if streamed else "data: " + response.text
        error = json.loads(last.removeprefix("data: "))["error"]
        assert (error["type"], error["code"]) == ("server_error", "engine_error")
        assert "[DONE]" not in response.text


async def test_a_client_that_leaves_a_stream_of_several_frees_all_slots(url: str, parts: Parts) -> None:
    body = {"model": "base", "prompt": "abc", "n": 3, "ignore_eos": True, "max_tokens": 900, "stream": True}
    parts.engine.pace = 0.005  # type: ignore[attr-defined]
    async with httpx.AsyncClient() as client, client.stream("POST", f"{url}/v1/completions", json=body) as response:
        await anext(response.aiter_lines())
        assert parts.engine.in_flight == 3
    async with asyncio.timeout(5):
        while parts.engine.in_flight:
            await asyncio.sleep(0.01)


async def test_the_log_says_of_a_stream_what_it_says_of_a_whole_answer(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="ragtune.access")
    for stream in (False, True):
        await chat(client, stream=stream)
    whole, streamed = [json.loads(record.message) for record in caplog.records if record.name == "ragtune.access"]
    told = ("mode", "prompt_tokens", "completion_tokens", "cached_tokens")
    assert {key: whole[key] for key in told} == {key: streamed[key] for key in told}
    assert whole["mode"] == "base" and streamed["first_token_ms"] > 0


async def test_the_clients_shaping_reaches_the_engine(call: Call, make_parts: Make) -> None:
    engine = EchoEngine()
    wishes = {
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "frequency_penalty": -0.5,
        "presence_penalty": 2,
        "min_tokens": 3,
    }
    async with call(make_parts(engine)) as client:
        answer = await chat(client, **wishes, logit_bias={"5": -100, "17": 2.5}, max_completion_tokens=9)
    assert answer.status_code == 200
    sampling = engine.generations[0].sampling
    assert sampling.model_dump(include=set(wishes)) == wishes
    assert (sampling.logit_bias, sampling.max_tokens) == (((5, -100), (17, 2.5)), 9)
