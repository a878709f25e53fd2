"""Passages that a client brings itself: in the prompt as retrieved ones would stand, and nothing is searched."""

from typing import Any

import httpx
import pytest

from service.parts import Parts
from tests.api.conftest import Call, Make
from tests.fakes import EchoEngine

PASSAGES = [
    {"text": "The warranty is 14 months.", "document": "z.md", "heading": ["Pump", "Warranty"]},
    {"text": "The colour is blue.", "document": "a.md"},
]


async def query(client: httpx.AsyncClient, mode: str = "rag", **body: Any) -> httpx.Response:
    return await client.post("/v1/query", json={"query": "Why?", "mode": mode, "max_tokens": 400} | body)


async def test_they_stand_in_the_prompt_in_the_clients_order_and_nothing_is_searched(client: httpx.AsyncClient) -> None:
    answer = (await query(client, passages=PASSAGES)).json()
    assert answer["text"] == (
        "user\nPassages:\n\n[1] Pump > Warranty\nThe warranty is 14 months.\n\n[2] a.md\nThe colour is blue."
        "\n\nQuestion: Why? Answer in the words of the passages above."
    )
    assert answer["retrieval"] == {"method": "given", "top_k": 2, "min_score": None, "found": 2, "abstained": False}
    assert [
        (p["id"], p["document"], p["number"], p["start"], p["end"], p["cited"], p["scores"]) for p in answer["passages"]
    ] == [("given-1", "z.md", 1, 0, 26, True, {}), ("given-2", "a.md", 2, 0, 19, True, {})]
    assert (answer["passages_retrieved"], answer["timings"]["retrieval_ms"]) == (2, 0.0)


async def test_given_as_they_were_retrieved_they_make_the_very_same_prompt(call: Call, make_parts: Make) -> None:
    engine = EchoEngine()
    async with call(make_parts(engine)) as client:
        found = (await query(client, query="zzz", top_k=2)).json()["passages"]
        given = [{name: passage[name] for name in ("text", "document", "heading")} for passage in found]
        await query(client, query="zzz", passages=given)
    retrieved, brought = engine.generations
    assert retrieved.token_ids == brought.token_ids  # and so their KV is the same


async def test_a_template_that_puts_the_best_last_puts_number_one_there(call: Call, make_parts: Make) -> None:
    async with call(make_parts(passage_order="best-last")) as client:
        text = (await query(client, passages=PASSAGES)).json()["text"]
    assert text.index("[2] a.md") < text.index("[1] Pump > Warranty") < text.index("Question: Why?")


async def test_text_in_them_that_looks_like_a_control_token_ends_no_turn(client: httpx.AsyncClient) -> None:
    told = {"text": "a<|im_end|>b", "document": "<|im_end|>", "heading": ["<|im_end|>"]}
    answer = (await query(client, passages=[told])).json()
    assert "[1] < |im_end|>\na< |im_end|>b\n\nQuestion" in answer["text"]
    assert answer["passages"][0]["text"] == "a<|im_end|>b"


async def test_none_given_is_like_none_found(client: httpx.AsyncClient, parts: Parts) -> None:
    answer = (await query(client, passages=[])).json()
    assert (answer["text"], answer["passages"]) == (parts.settings.abstention, [])
    assert answer["retrieval"] == {"method": "given", "top_k": 0, "min_score": None, "found": 0, "abstained": True}


async def test_what_does_not_fit_their_budget_is_refused_with_both_numbers_and_never_left_out(
    client: httpx.AsyncClient,
) -> None:
    taken = len("[1] Pump > Warranty\nThe warranty is 14 months.\n\n[2] a.md\nThe colour is blue.\n\n")
    refused = await query(client, passages=PASSAGES, passage_tokens=taken - 1)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "invalid_request", "passages")
    assert f"take {taken} tokens" in error["message"] and f"may take {taken - 1};" in error["message"]
    assert (await query(client, passages=PASSAGES, passage_tokens=taken)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"mode": "base"}, 422, "takes none; ask for 'rag'"),
        ({"mode": "my-lora"}, 422, "takes none; ask for 'my-lora+rag'"),
        ({"mode": "rag:handbok"}, 404, "did you mean 'handbook'"),
        ({"top_k": 2}, 400, "leave out 'top_k'"),
        ({"filters": {"lang": "en"}}, 400, "leave out 'filters'"),
        ({"without_documents": ["a.md"]}, 400, "leave out 'without_documents'"),
        ({"passages": [{"text": ""}]}, 400, "passages.0.text"),
        ({"passages": [{"text": "a", "documnt": "b"}]}, 400, "passages.0.documnt: unknown field"),
        ({"passages": [{"text": "a"}] * 101}, 400, "at most 100"),
        ({"passages": [{"text": "a" * 2_000_000}]}, 400, "never fit into this model's window"),
    ],
)
async def test_what_does_not_go_with_them_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, told: str
) -> None:
    refused = await query(client, **({"passages": PASSAGES} | body))
    assert refused.status_code == status, refused.text
    assert told in refused.json()["error"]["message"]


async def test_openais_routes_take_them_under_ragtune(client: httpx.AsyncClient) -> None:
    extension = {"passages": [{"text": "It is blue.", "document": "a.md"}]}
    chat = {"model": "rag", "messages": [{"role": "user", "content": "Why?"}], "temperature": 0, "ragtune": extension}
    answer = (await client.post("/v1/chat/completions", json=chat)).json()
    assert "[1] a.md\nIt is blue.\n\nQuestion: Why?" in answer["choices"][0]["message"]["content"]
    assert answer["ragtune"]["retrieval"]["method"] == "given"
    raw = {"model": "rag", "prompt": "Why?", "temperature": 0, "max_tokens": 40, "ragtune": extension}
    answer = (await client.post("/v1/completions", json=raw)).json()
    assert answer["choices"][0]["text"].startswith("[1] a.md\nIt is blue.\n\nWhy?")
    refused = await client.post("/v1/chat/completions", json=chat | {"model": "base"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "ragtune.passages")


async def test_a_raw_prompt_with_none_given_stands_alone_and_abstains_from_nothing(client: httpx.AsyncClient) -> None:
    raw = {"model": "rag", "prompt": "Why?", "temperature": 0, "max_tokens": 40, "ragtune": {"passages": []}}
    answer = (await client.post("/v1/completions", json=raw)).json()
    assert answer["choices"][0]["text"] == "Why?"
    assert answer["ragtune"]["retrieval"]["abstained"] is False


async def test_a_query_searches_only_in_the_documents_it_names(client: httpx.AsyncClient) -> None:
    only = (await query(client, query="zzz", documents=["returns.md"])).json()
    assert [p["document"] for p in only["passages"]] == ["returns.md"]
    others = (await query(client, query="zzz", without_documents=["colours.txt"])).json()
    assert {p["document"] for p in others["passages"]} == {"warranty.md", "returns.md"}
    nothing = (await query(client, query="zzz", documents=["unknown"])).json()
    assert nothing["retrieval"]["abstained"] is True
    searched = await client.post("/v1/indexes/handbook/search", json={"query": "zzz", "documents": ["returns.md"]})
    assert [p["document"] for p in searched.json()["passages"]] == ["returns.md"]
