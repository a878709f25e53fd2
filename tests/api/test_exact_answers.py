"""HTTP over the real engine process, against transformers and PEFT: log-probabilities, schemas, choices.

With the prefix cache and without, streamed and whole, in every kind of mode, retrieval among them.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from itertools import takewhile
from typing import Any

import httpx
import jsonschema
import pytest
import pytest_asyncio
from torch import Tensor

from adapters.base_model import BaseModelInfo
from adapters.tokenizer import Tokenizer
from ragtune.settings import Settings
from service.app import create_app
from service.engine.client import EngineClient
from service.parts import Parts
from tests.api.conftest import Make
from tests.api.test_openai_routes import events
from tests.equivalence.harness import TOLERANCE, Reference
from tests.tiny import tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODES = [
    "base",
    "rag",
    "my-lora",
    "my-soft",
    "my-prefix",
    "my-lora+my-soft",
    "other-lora+rag",
    "my-lora+my-prefix+rag",
]
PROMPT = "añ€😀 zzz, is it? " * 4
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]{2,6}$"},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 50}, "maxItems": 3},
        "kind": {"enum": ["pump", "drill", None]},
        "parent": {"$ref": "#/$defs/place"},
    },
    "required": ["name", "sizes", "kind", "parent"],
    "additionalProperties": False,
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"city": {"const": "Oslo"}, "floor": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "floor"],
            "additionalProperties": False,
        }
    },
}
SHAPE = {"type": "json_schema", "json_schema": {"name": "tool", "schema": SCHEMA, "strict": True}}


@pytest.fixture(scope="module", params=[True, False], ids=["cache", "no cache"])
def caches(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(caches: bool, settings: Settings, base: BaseModelInfo) -> AsyncIterator[EngineClient]:
    limits = {"threads": 1, "kv_tokens": 16384, "max_model_len": 1024, "prefix_cache": caches}
    engine = await EngineClient.start(settings.model_copy(update=limits), base.folder)
    yield engine
    await engine.close()


@pytest_asyncio.fixture(loop_scope="module")
async def parts(make_parts: Make, engine: EngineClient) -> Parts:
    return make_parts(engine, deadline=60.0)


@pytest_asyncio.fixture(loop_scope="module")
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def references() -> dict[str, Reference]:
    """Made as modes are asked for."""
    return {}


def expected(parts: Parts, references: dict[str, Reference], mode: str, ids: list[int]) -> Tensor:
    """(len(ids), vocabulary) log-probabilities that transformers and PEFT give after each of `ids`."""
    configuration = parts.catalog.resolve(mode)
    refs = {ref.key: ref for ref in (configuration.weights, configuration.prefix) if ref is not None}
    learned = "+".join(refs) or "base"
    folders = {key: ref.folder for key, ref in refs.items()}
    reference = references.setdefault(learned, Reference(tiny_model, refs, folders))
    return reference.logits(learned, ids).log_softmax(dim=-1)


def spelled(tokenizer: Tokenizer, raw: list[int] | bytes) -> list[int]:
    """The tokens of bytes: the tiny tokenizer has one for each."""
    names = {tokenizer.token_bytes(i): i for i in range(3, tokenizer.vocab_size)}
    return [names[bytes([byte])] for byte in raw]


@pytest.mark.parametrize("mode", MODES)
async def test_scores_of_a_raw_prompt_and_its_continuation_are_transformers(
    client: httpx.AsyncClient, parts: Parts, references: dict[str, Reference], mode: str
) -> None:
    asked = {"model": mode, "prompt": PROMPT, "echo": True, "logprobs": 2, "seed": 1, "ignore_eos": True}
    own = parts.tokenizer.encode(PROMPT)[0]
    for new in (0, 5):
        for _ in range(2):  # the second time there is something to take from the cache, and it must not be taken
            answer = (await client.post("/v1/completions", json=asked | {"max_tokens": new})).json()
            told = answer["choices"][0]["logprobs"]
            assert "".join(told["tokens"]) == answer["choices"][0]["text"]
            assert len(told["tokens"]) == len(own) + new
        streamed = events(await client.post("/v1/completions", json=asked | {"max_tokens": new, "stream": True}))
        parts_told = [c["choices"][0]["logprobs"] for c in streamed if c["choices"][0]["logprobs"]]
        assert {key: [v for part in parts_told for v in part[key]] for key in told} == told
        before = before_the_prompt(parts, answer)
        assert answer["usage"]["prompt_tokens"] == len(before) + len(own)
        rows = expected(parts, references, mode, before + own)
        values = told["token_logprobs"][: len(own)]
        assert (values[0] is None) == (not before)
        for at, (token, value) in enumerate(zip(own, values, strict=True)):
            if value is not None:
                assert abs(value - rows[len(before) + at - 1][token].item()) < TOLERANCE
                assert max(told["top_logprobs"][at].values()) <= rows[len(before) + at - 1].max().item() + TOLERANCE


def before_the_prompt(parts: Parts, answer: dict[str, Any]) -> list[int]:
    """What the passages of a raw prompt become, by the documentation: in the order of their numbers."""
    passages = answer["ragtune"]["passages"]
    laid = [f"[{p['number']}] {' > '.join(p['heading']) or p['document']}\n{p['text']}\n\n" for p in passages]
    return parts.tokenizer.encode_completion("".join(laid)) if laid else []


@pytest.mark.parametrize("mode", [*MODES, "prompt:brief+rag"])
async def test_log_probabilities_of_a_chat_are_transformers(
    client: httpx.AsyncClient, parts: Parts, references: dict[str, Reference], mode: str, caches: bool
) -> None:
    chat = {"model": mode, "messages": [{"role": "user", "content": PROMPT}]}
    prompt = (await client.post("/tokenize", json=chat)).json()["tokens"]
    asked = chat | {"logprobs": True, "top_logprobs": 4, "max_tokens": 12, "seed": 3, "ignore_eos": True}
    answer = (await client.post("/v1/chat/completions", json=asked)).json()
    content = answer["choices"][0]["logprobs"]["content"]
    text = answer["choices"][0]["message"]["content"]
    assert "".join(entry["token"] for entry in content) == text
    again = (await client.post("/v1/chat/completions", json=asked)).json()
    assert (again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0) == caches
    chunks = events(await client.post("/v1/chat/completions", json=asked | {"stream": True}))
    streamed = [e for c in chunks if c["choices"][0]["logprobs"] for e in c["choices"][0]["logprobs"]["content"]]
    for entries in (content, again["choices"][0]["logprobs"]["content"], streamed):
        assert len(entries) == 12
        readable = list(takewhile(lambda entry: entry["bytes"], entries))  # a control token's id cannot be told by text
        ids = [spelled(parts.tokenizer, entry["bytes"])[0] for entry in readable]
        rows = expected(parts, references, mode, prompt + ids)[len(prompt) - 1 : -1]
        assert len(rows) == len(ids) > 0
        for entry, token, row in zip(readable, ids, rows, strict=True):
            assert abs(entry["logprob"] - row[token].item()) < TOLERANCE
            best = [top["logprob"] for top in entry["top_logprobs"]]
            assert best == pytest.approx(row.topk(4).values.tolist(), abs=TOLERANCE)


async def test_a_schema_holds_in_every_mode_in_one_batch_beside_free_answers(client: httpx.AsyncClient) -> None:
    def ask(mode: str, seed: int, **more: Any) -> Any:
        body = {"model": mode, "messages": [{"role": "user", "content": "zzz?"}], "temperature": 1, "seed": seed}
        return client.post("/v1/chat/completions", json=body | {"max_tokens": 200} | more)

    free = [ask(mode, 7, ignore_eos=True) for mode in MODES]
    bound = [ask(mode, seed, response_format=SHAPE) for seed, mode in enumerate(MODES * 3)]
    answers = [answer.json()["choices"][0] for answer in await asyncio.gather(*free, *bound)]
    for choice in answers[len(free) :]:
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
    alone = [(await ask(mode, 7, ignore_eos=True)).json()["choices"][0] for mode in MODES]
    assert [choice["message"] for choice in answers[: len(free)]] == [choice["message"] for choice in alone]


async def test_a_schema_holds_even_where_the_tokens_run_out(client: httpx.AsyncClient) -> None:
    endless = {"type": "array", "items": SCHEMA, "minItems": 1, "$defs": SCHEMA["$defs"]}
    shape = {"type": "json_schema", "json_schema": {"name": "tools", "schema": endless}}
    body = {"model": "my-lora", "messages": [{"role": "user", "content": "zzz?"}], "response_format": shape}
    asks = [
        client.post("/v1/chat/completions", json=body | {"max_tokens": 120 + 7 * i, "seed": i, "logprobs": True})
        for i in range(12)
    ]
    reasons = set()
    for answer in await asyncio.gather(*asks):
        choice = answer.json()["choices"][0]
        jsonschema.validate(json.loads(choice["message"]["content"]), endless)
        assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == choice["message"]["content"]
        reasons.add(choice["finish_reason"])
    assert "length" in reasons


async def test_usage_is_told_in_full_where_a_stop_string_ends_an_answer(
    client: httpx.AsyncClient, caches: bool
) -> None:
    body = {"model": "base", "prompt": PROMPT, "max_tokens": 30, "temperature": 0, "ignore_eos": True}
    text = (await client.post("/v1/completions", json=body)).json()["choices"][0]["text"]
    stop = next(letter for letter in text if letter != "\ufffd")
    answer = (await client.post("/v1/completions", json=body | {"stop": stop})).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert (answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0) == caches


async def test_any_json_object_raw_or_streamed(client: httpx.AsyncClient, parts: Parts) -> None:
    ends = parts.tokenizer.encode('"}')[0]  # made likely, as a random model would go on for ever
    bias = {str(token): 30 for token in ends}
    body = {"model": "base", "prompt": "x", "response_format": {"type": "json_object"}, "max_tokens": 300, "seed": 2}
    answer = (await client.post("/v1/completions", json=body | {"logit_bias": bias})).json()
    assert isinstance(json.loads(answer["choices"][0]["text"]), dict)
    chunks = events(await client.post("/v1/completions", json=body | {"logit_bias": bias, "stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == answer["choices"][0]["text"]


async def test_n_choices_differ_with_a_seed_and_can_be_repeated(client: httpx.AsyncClient, parts: Parts) -> None:
    body = {"model": "my-lora", "prompt": PROMPT, "n": 4, "seed": 11, "max_tokens": 12, "ignore_eos": True}
    first, again = [(await client.post("/v1/completions", json=body)).json()["choices"] for _ in range(2)]
    one = (await client.post("/v1/completions", json=body | {"n": 1})).json()["choices"]
    assert first == again
    assert first[0] == one[0]
    assert len({choice["text"] for choice in first}) == 4


async def test_penalties_change_what_is_repeated(client: httpx.AsyncClient) -> None:
    body = {"model": "base", "prompt": "ab", "temperature": 0, "max_tokens": 60, "ignore_eos": True, "logprobs": 0}
    plain = (await client.post("/v1/completions", json=body)).json()["choices"][0]["logprobs"]["token_logprobs"]
    pushed = body | {"frequency_penalty": 2, "presence_penalty": 2, "repetition_penalty": 1.5}
    varied = (await client.post("/v1/completions", json=pushed)).json()["choices"][0]["logprobs"]["token_logprobs"]
    assert math.fsum(varied) < math.fsum(plain)  # told of the logits as they are: what penalties choose is less likely
