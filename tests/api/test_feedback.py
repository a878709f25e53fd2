"""/v1/feedback: what can be judged, by whom, and that nothing is kept of what nobody judges."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragtune.audit import AuditLog
from ragtune.examples import read_examples
from ragtune.feedback import FeedbackLog
from ragtune.keys import Keys
from ragtune.store import Database
from service.access import Gate
from service.exchanges import Exchanges
from service.parts import Parts
from tests.api.conftest import Call, Make


@pytest.fixture
def apart(tmp_path: Path) -> Database:
    """One for the feedback alone."""
    return Database(tmp_path / "feedback.db")


@pytest.fixture
async def parts(make_parts: Make, apart: Database) -> Parts:
    return _beside(make_parts(), apart)


def _beside(made: Parts, apart: Database) -> Parts:
    gate = Gate(Keys(apart), loopback=True)
    return dataclasses.replace(made, feedback=FeedbackLog(apart), gate=gate, audit=AuditLog(apart))


async def ask(client: httpx.AsyncClient, text: str = "Why?", **body: Any) -> Any:
    sent = {"query": text, "mode": "base", "max_tokens": 40} | body
    answer = await client.post("/v1/query", json=sent, headers={"x-request-id": f"req-{text}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def give(client: httpx.AsyncClient, score: float = 1, **body: Any) -> httpx.Response:
    return await client.post("/v1/feedback", json={"score": score, **body})


async def judged_last(client: httpx.AsyncClient) -> Any:
    """The exchange that the newest opinion is about."""
    return (await client.get("/v1/feedback", params={"limit": 1})).json()[0]["exchange"]


async def test_an_answer_is_judged_by_its_id_and_only_then_written_down(
    client: httpx.AsyncClient, apart: Database
) -> None:
    answer, _ = await ask(client, "zzz", mode="rag"), await ask(client, "Why?")
    assert FeedbackLog(apart).newest(9) == []
    given = await give(client, 0.5, id=answer["id"], comment="short", answer="a better one")
    assert given.status_code == 200, given.text
    (kept,) = (await client.get("/v1/feedback")).json()
    assert given.json() == {"id": answer["id"], "score": 0.5, "answer": "a better one"}  # not what was asked
    assert (kept["score"], kept["comment"], kept["answer"], kept["author"]) == (0.5, "short", "a better one", "local")
    exchange = kept["exchange"]
    assert (exchange["query"], exchange["text"]) == ("zzz", answer["text"])
    assert (exchange["mode"], exchange["resolved_mode"]) == ("rag", "rag:handbook@1")
    assert exchange["documents"] == list(dict.fromkeys(passage["document"] for passage in answer["passages"]))


async def test_a_request_id_names_its_only_answer_and_choice_one_of_several(client: httpx.AsyncClient) -> None:
    answer = await ask(client, "once")
    assert (await give(client, request_id="req-once")).json()["id"] == answer["id"]
    body = {"query": "Why?", "modes": ["base", "prompt:brief"]}
    headers = {"x-request-id": "two"}
    answers = (await client.post("/v1/compare", json=body, headers=headers)).json()["answers"]
    refused = await give(client, request_id="two")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "choice")
    for choice in (0, 1):
        given = await give(client, request_id="two", choice=choice)
        chosen = await judged_last(client)
        assert (given.json()["id"], chosen["mode"]) == (answers[choice]["id"], body["modes"][choice])
    assert (await give(client, id=answers[1]["id"])).json()["id"] == answers[1]["id"]
    assert (await give(client, request_id="two", choice=2)).status_code == 404


@pytest.mark.parametrize("stream", [False, True])
async def test_chats_are_judged_by_the_id_that_openais_clients_see_with_what_was_said_before(
    client: httpx.AsyncClient, stream: bool
) -> None:
    messages = [{"role": role, "content": role} for role in ("user", "assistant")]
    body = {"model": "base", "messages": [*messages, {"role": "user", "content": "And?"}], "n": 2, "stream": stream}
    answer = await client.post("/v1/chat/completions", json=body | {"temperature": 0})
    name = json.loads(answer.text.split("\n\n")[0].removeprefix("data: "))["id"] if stream else answer.json()["id"]
    assert name.startswith("chatcmpl-")
    for choice in (None, 1):
        assert (await give(client, id=name, choice=choice)).status_code == 200
        exchange = await judged_last(client)
        assert (exchange["choice"], exchange["query"]) == (choice or 0, "And?")
        assert exchange["history"] == messages
    raw = (await client.post("/v1/completions", json={"model": "base", "prompt": "Because", "temperature": 0})).json()
    assert (await give(client, id=raw["id"])).status_code == 200
    assert (await judged_last(client))["query"] == "Because"


async def test_a_second_opinion_replaces_the_first_also_when_the_answer_has_left_the_window(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    answer = await ask(client)
    await give(client, 1, id=answer["id"])
    for number in range(parts.exchanges.most):
        parts.exchanges.keep([parts.feedback.newest(1)[0].exchange.model_copy(update={"id": f"gen-{number}"})])
    assert (await give(client, -1, id=answer["id"])).status_code == 200
    assert [each["score"] for each in (await client.get("/v1/feedback")).json()] == [-1]
    audited = [entry.path for entry in parts.audit.newest(9)]
    assert audited == [f"/v1/feedback/{answer['id']}?score={score}" for score in (-1, 1)]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"id": "gen-unknown", "score": 1}, 404, "id"),
        ({"request_id": "unknown", "score": 1}, 404, "request_id"),
        ({"score": 1}, 400, None),
        ({"id": "a", "request_id": "b", "score": 1}, 400, None),
        ({"id": "a"}, 400, "score"),
        ({"id": "a", "score": 1.5}, 400, "score"),
        ({"id": "a", "score": True}, 400, "score"),
        ({"id": "a", "score": 1, "answer": " "}, 400, "answer"),
        ({"id": "a", "score": 1, "coment": ""}, 400, "coment"),
    ],
)
async def test_what_is_no_opinion_on_an_answer_is_refused(
    client: httpx.AsyncClient, apart: Database, body: dict[str, Any], status: int, param: str | None
) -> None:
    refused = await client.post("/v1/feedback", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text
    assert FeedbackLog(apart).newest(1) == []


async def test_an_expired_answer_is_told_with_the_setting(call: Call, parts: Parts) -> None:
    for window, told in ((1, "the last 1 answers"), (0, "RAGTUNE_FEEDBACK_WINDOW is 0")):
        async with call(dataclasses.replace(parts, exchanges=Exchanges(window))) as client:
            answer, _ = await ask(client), await ask(client)
            refused = await give(client, id=answer["id"])
        assert refused.status_code == 404 and told in refused.json()["error"]["message"]


async def test_what_a_prompt_is_scored_for_is_no_answer_to_judge(client: httpx.AsyncClient, parts: Parts) -> None:
    scored = {"model": "base", "prompt": "a", "echo": True, "logprobs": 1, "max_tokens": 0}
    answer = (await client.post("/v1/completions", json=scored)).json()
    assert (await give(client, id=answer["id"])).status_code == 404


async def test_tenants_judge_and_see_only_their_own_and_a_list_needs_the_scope_eval(
    call: Call, parts: Parts, apart: Database
) -> None:
    keys = Keys(apart)
    headers = {
        name: {"authorization": f"Bearer {keys.create(name, ['query', 'eval'], tenant)[1]}"}
        for name, tenant in (("ada", "ada"), ("bob", "bob"), ("all", ""))
    }
    asker = {"authorization": f"Bearer {keys.create('asker', ['query'])[1]}"}
    async with call(parts) as client:
        answer = (await client.post("/v1/query", json={"query": "a"}, headers=headers["ada"])).json()
        for other in ("bob", "all"):
            refused = await client.post("/v1/feedback", json={"id": answer["id"], "score": 1}, headers=headers[other])
            assert refused.status_code == 404
        body = {"id": answer["id"], "score": 1}
        assert (await client.post("/v1/feedback", json=body, headers=headers["ada"])).status_code == 200
        refused = await client.post("/v1/feedback", json=body, headers=headers["bob"])  # it is judged, yet not his
        assert refused.status_code == 404
        seen = {name: len((await client.get("/v1/feedback", headers=own)).json()) for name, own in headers.items()}
        assert seen == {"ada": 1, "bob": 0, "all": 1}
        for path in ("/v1/feedback", "/v1/feedback/export"):
            assert (await client.get(path, headers=asker)).status_code == 403
        exported = await client.get("/v1/feedback/export", headers=headers["bob"])
        assert (exported.text, exported.headers["x-ragtune-examples"]) == ("", "0")


async def test_the_export_is_a_held_out_file(client: httpx.AsyncClient, tmp_path: Path) -> None:
    for text, score, better in (("a", 1, None), ("b", -1, "better"), ("c", -1, None), ("d", 0.2, None)):
        await give(client, score, id=(await ask(client, text))["id"], answer=better)
    everything = await client.get("/v1/feedback/export")
    assert everything.headers["content-type"].startswith("application/x-ndjson")
    assert (everything.headers["x-ragtune-examples"], everything.headers["x-ragtune-left-out"]) == ("3", "1")
    (tmp_path / "heldout.jsonl").write_text(everything.text)
    examples = read_examples(tmp_path / "heldout.jsonl")
    assert [(example.query, example.answers) for example in examples] == [
        ("d", ("user\nd",)),
        ("b", ("better",)),
        ("a", ("user\na",)),
    ]
    good = await client.get("/v1/feedback/export", params={"min_score": 0.5})
    assert (good.headers["x-ragtune-examples"], good.headers["x-ragtune-left-out"]) == ("1", "3")
