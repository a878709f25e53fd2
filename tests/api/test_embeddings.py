"""/v1/embeddings over an embedder whose vectors count letters, asked by hand and by the official client."""

import asyncio
import base64
from typing import Any

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI

from service.parts import Parts
from tests.fakes import LetterEmbedder


async def embed(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/embeddings", json={"model": "letters", "input": "abc", **body})


async def test_one_text_or_several_come_back_in_order(client: httpx.AsyncClient) -> None:
    texts = ["abc", "zz top", "9"]
    answer = (await embed(client, input=texts)).json()
    vectors = np.array([item["embedding"] for item in answer["data"]], dtype=np.float32)
    assert np.array_equal(vectors, LetterEmbedder().encode(texts))
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert (answer["object"], answer["model"]) == ("list", "letters")
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert len((await embed(client)).json()["data"]) == 1


async def test_base64_holds_the_same_numbers(client: httpx.AsyncClient) -> None:
    floats = (await embed(client)).json()["data"][0]["embedding"]
    packed = (await embed(client, encoding_format="base64")).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), dtype="<f4").tolist() == floats


async def test_more_texts_than_a_turn_keep_their_order(client: httpx.AsyncClient) -> None:
    texts = [chr(97 + i % 26) * (1 + i) for i in range(100)]
    answer = (await embed(client, input=texts)).json()
    assert np.array_equal(
        np.array([item["embedding"] for item in answer["data"]], dtype=np.float32), LetterEmbedder().encode(texts)
    )


async def test_the_official_client_reads_them(url: str) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.embeddings.create(model="letters", input=["abc", "z"])
    assert np.allclose(answer.data[1].embedding, LetterEmbedder().encode(["z"])[0])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": ""}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": ["a", ""]}, 400, "input"),
        ({"input": [5, 6]}, 400, "input"),
        ({"input": [[5, 6]]}, 400, "input"),
        ({"input": ["a"] * 2049}, 400, "input"),
        ({"input": None}, 400, "input"),
        ({"dimensions": 5}, 400, "dimensions"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
        ({"truncate_prompt_tokens": 5}, 400, "truncate_prompt_tokens"),
        ({"endianness": "big", "encoding_format": "base64"}, 400, "endianness"),
        ({"embed_dtype": "float16"}, 400, "embed_dtype"),
        ({"model": "leters"}, 404, "model"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, param: str
) -> None:
    response = await embed(client, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param), response.text


async def test_a_text_longer_than_the_window_is_never_cut_silently(client: httpx.AsyncClient) -> None:
    error = (await embed(client, input=["a", "word " * 65])).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert all(number in error["message"] for number in ("input 1", "65", "64"))


async def test_the_models_own_number_of_dimensions_may_be_asked_for(client: httpx.AsyncClient) -> None:
    assert (await embed(client, dimensions=27, user="me", unheard_of=1)).status_code == 200


async def test_many_at_once_take_turns(client: httpx.AsyncClient, parts: Parts) -> None:
    answers = await asyncio.gather(*(embed(client, input=["ab"] * 40) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
