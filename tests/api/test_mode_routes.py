"""Aliases for whole modes over HTTP, in every place where a mode can stand."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from adapters.manifest import TrainingRecord
from adapters.registry import Adapters
from ragtune.store import Database
from service.parts import Parts
from tests.api.test_resource_routes import Error, mode_of, put_adapter

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def best(client: httpx.AsyncClient) -> AsyncIterator[str]:
    """An alias that is gone after the test."""
    await client.put("/v1/modes/best", json={"mode": "rag+my-lora"})
    yield "best"
    await client.delete("/v1/modes/best")


async def test_an_alias_is_set_shown_moved_rolled_back_and_taken_away(client: httpx.AsyncClient, best: str) -> None:
    shown = (await client.get("/v1/modes/best")).json()
    moved = shown.pop("moved")
    assert shown == {
        "alias": "best",
        "mode": "my-lora+rag",
        "resolved_mode": "my-lora@1+rag:handbook@1",
        "problem": None,
        "author": "local",
    }
    assert (await client.get("/v1/modes")).json() == [shown | {"moved": moved}]
    assert (await client.put("/v1/modes/best", json={"mode": "other-lora@1"})).json()["mode"] == "other-lora@1"
    assert await mode_of(client, best) == "other-lora@1"
    assert (await client.post("/v1/modes/best/rollback", json={})).json()["mode"] == "my-lora+rag"
    assert Error.of(await client.post("/v1/modes/best/rollback", json={})).status == 422
    error = Error.of(await client.post("/v1/modes/best/rollback", json={"alias": "best"}))
    assert (error.status, error.param) == (400, "alias")
    assert (await client.delete("/v1/modes/best")).json()["mode"] == "my-lora+rag"
    for response in (await client.get("/v1/modes/best"), await client.delete("/v1/modes/best")):
        assert Error.of(response).code == "unknown_name"


async def test_an_alias_stands_wherever_a_mode_does(client: httpx.AsyncClient, best: str) -> None:
    resolved = "my-lora@1+rag:handbook@1"
    assert await mode_of(client, best) == resolved
    answers = (await client.post("/v1/compare", json={"query": "Why?", "modes": ["base", best]})).json()["answers"]
    assert [(answer["mode"], answer["resolved_mode"]) for answer in answers] == [("base", "base"), (best, resolved)]
    chat = (await client.post("/v1/chat/completions", json={"model": best, "messages": HELLO})).json()
    assert (chat["model"], chat["ragtune"]["mode"]) == (best, resolved)
    assert (await client.post("/tokenize", json={"model": best, "messages": HELLO})).status_code == 200


async def test_models_lists_an_alias_with_what_it_means(client: httpx.AsyncClient, best: str) -> None:
    (card,) = [card for card in (await client.get("/v1/models")).json()["data"] if card["kind"] == "alias"]
    assert (card["id"], card["root"]) == (best, "my-lora@1+rag:handbook@1")
    assert (await client.get("/v1/models/best")).json() == card


async def test_an_alias_whose_adapter_is_deleted_is_shown_with_its_problem_and_is_no_model_any_more(
    client: httpx.AsyncClient, best: str, peft_folders: Path
) -> None:
    await put_adapter(client, "passing", peft_folders / "my-lora")
    await client.put("/v1/modes/best", json={"mode": "passing"})
    await client.delete("/v1/adapters/passing")
    shown = (await client.get("/v1/modes/best")).json()
    assert shown["resolved_mode"] is None and "unknown adapter or mode 'passing'" in shown["problem"]
    assert "best" not in [card["id"] for card in (await client.get("/v1/models")).json()["data"]]
    error = Error.of(await client.post("/v1/chat/completions", json={"model": best, "messages": HELLO}))
    assert (error.status, error.param, error.message.startswith("best means passing: ")) == (404, "model", True)


@pytest.mark.parametrize(
    ("name", "body", "status", "says"),
    [
        ("better", {"mode": "my-lroa"}, 404, "did you mean 'my-lora'"),
        ("better", {"mode": "best"}, 400, "stands alone; write out what it means: my-lora+rag"),
        ("better", {"mode": "my-lora+other-lora"}, 422, "one weight adapter at most"),
        ("better", {"mdoe": "base"}, 400, "mdoe: unknown field"),
        ("my-lora", {"mode": "base"}, 400, "'my-lora' is an adapter"),
        ("rag", {"mode": "base"}, 400, "reserved word"),
        ("Better", {"mode": "base"}, 400, "not a legal name"),
    ],
)
async def test_an_alias_that_cannot_be_is_refused_in_words(
    client: httpx.AsyncClient, best: str, name: str, body: dict[str, str], status: int, says: str
) -> None:
    error = Error.of(await client.put(f"/v1/modes/{name}", json=body))
    assert (error.status, says in error.message) == (status, True), error.message
    assert [alias["alias"] for alias in (await client.get("/v1/modes")).json()] == [best]


async def test_an_adapter_cannot_take_the_name_of_an_alias(
    client: httpx.AsyncClient, best: str, peft_folders: Path
) -> None:
    error = Error.of(await put_adapter(client, best, peft_folders / "my-lora"))
    assert (error.status, error.param) == (400, "adapter")
    assert "'best' is an alias for the mode my-lora+rag; choose another name" in error.message


async def test_an_answer_says_that_its_adapter_was_trained_with_another_index(
    client: httpx.AsyncClient, parts: Parts, database: Database, peft_folders: Path, tmp_path: Path
) -> None:
    record = dict.fromkeys(("seconds", "steps", "examples", "tokens", "trainable_parameters"), 1)
    record |= dict.fromkeys(("base_id", "data_sha256", "rendering_hash", "created"), "x")
    record |= {"method": "lora", "recipe": {}, "template": None, "index": "handbook@9", "final_loss": 1, "versions": {}}
    folder = tmp_path / "trained"
    folder.mkdir()
    for file in (peft_folders / "my-lora").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    TrainingRecord.model_validate(record | {"base_fingerprint": parts.base.fingerprint}).write(folder)
    Adapters(parts.settings.home, database, parts.base, None).add("trained", folder)
    notes = [
        "trained@1 was trained with passages of handbook@9, this mode uses handbook@1",
        "trained@1 was trained on prompts rendered otherwise than here: by another version of ragtune, or with "
        "another chat template",
    ]
    asked = await client.post("/v1/query", json={"query": "Why?", "mode": "trained+rag"})
    assert asked.json()["notes"] == notes
    chat = {"model": "trained+rag", "messages": HELLO}
    assert (await client.post("/v1/chat/completions", json=chat)).json()["ragtune"]["notes"] == notes
    streamed = await client.post("/v1/chat/completions", json=chat | {"stream": True})
    chunks = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    assert [chunk["ragtune"]["notes"] for chunk in chunks if "ragtune" in chunk] == [notes]
    raw = await client.post("/v1/completions", json={"model": "trained", "prompt": "abc", "max_tokens": 1})
    assert raw.json()["ragtune"]["notes"] == [
        "trained@1 was trained with passages of handbook@9, this mode retrieves none"
    ]
    assert (await client.post("/v1/query", json={"query": "Why?", "mode": "my-lora+rag"})).json()["notes"] == []
    await client.delete("/v1/adapters/trained")
