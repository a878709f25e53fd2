"""Documents over HTTP with real builds: stored, findable when an answer says so, and gone when they are deleted.

The embedding model is a tiny one with random weights, made here, so that builds run in processes of their own.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

from indexer.deleting import forget_index
from indexer.documents import Document
from indexer.embedding import Embedder
from indexer.retriever import Retriever
from indexer.stored_documents import Source
from ragtune.keys import Keys
from ragtune.store import Database
from service.access import Gate
from service.parts import Parts
from tests.api.conftest import Call, Make

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *(chr(97 + n) for n in range(26)),
    *(f"##{chr(97 + n)}" for n in range(26)),
]


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedding")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder / "bert")
    (folder / "words.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "words.txt"), model_max_length=128).save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[words, Pooling(words.get_embedding_dimension())]).save(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture
async def parts(
    make_parts: Make, embedding: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Parts]:
    monkeypatch.setenv("RAGTUNE_EMBEDDING_MODEL", str(embedding))  # what a build's own process reads
    made = make_parts(embedding_model=str(embedding))
    retriever = Retriever(Embedder(embedding, device="cpu"), hidden=made.indexes.documents.hidden)
    made = Parts(**{**made.__dict__, "retriever": retriever})
    others = {*made.indexes.versions.names(), *made.indexes.documents.indexes()}
    yield made
    await made.rebuilding.close()
    await made.workers.close()
    for name in {*made.indexes.versions.names(), *made.indexes.documents.indexes()} - others:
        forget_index(made.indexes, made.jobs, name, "")  # the home is everybody's, and a bare rag means its only index


async def put(client: httpx.AsyncClient, path: str, content: bytes | str, **params: Any) -> httpx.Response:
    return await client.put(f"/v1/indexes/{path}", content=content, params=params, timeout=100)


async def found(client: httpx.AsyncClient, index: str, query: str, **more: object) -> list[str]:
    response = await client.post(f"/v1/indexes/{index}/search", json={"query": query, "top_k": 50, **more})
    assert response.status_code == 200, response.text
    return [passage["document"] for passage in response.json()["passages"]]


async def test_an_upload_that_is_waited_for_is_found_by_the_next_search(client: httpx.AsyncClient) -> None:
    first = await put(client, "shelf/documents/pump.md", "# Pump\n\nquince jam", wait=True, title="The pump")
    assert (first.status_code, first.json()["changes"], first.json()["version"]) == (
        200,
        {"pump.md": "added"},
        "shelf@1",
    )
    body = {"documents": [{"id": "a", "text": "apple pie", "metadata": {"lang": "en"}}, {"id": "b", "text": "birne"}]}
    more = await client.post("/v1/indexes/shelf/documents", json=body, params={"wait": True}, timeout=100)
    assert more.json()["version"] == "shelf@2"
    assert await found(client, "shelf", "apple", retrieval="lexical") == ["a"]
    assert await found(client, "shelf", "apple", filters={"lang": ["de", "en"]}) == ["a"]
    assert set(await found(client, "shelf", "apple")) == {"a", "b", "pump.md"}
    shown = (await client.get("/v1/indexes/shelf/documents/pump.md")).json()
    assert (shown["title"], shown["source"], shown["author"]) == ("The pump", "upload:pump.md", "local")
    answer = (
        await client.post("/v1/query", json={"query": "apple", "mode": "rag:shelf", "retrieval": "lexical"})
    ).json()
    assert answer["retrieval"] == {
        "method": "lexical", "top_k": 4, "min_score": None, "found": 1, "abstained": False
    }  # fmt: skip

    gone = await client.delete("/v1/indexes/shelf/documents/a")
    assert gone.json() == {"id": "a", "tenant": ""}
    assert await found(client, "shelf", "apple", retrieval="lexical") == []
    back = await client.post("/v1/indexes/shelf/rollback", json={})
    assert back.json()["version"] == "shelf@1"
    assert await found(client, "shelf", "apple") == ["pump.md"]
    assert "a" not in await found(client, "shelf@2", "apple")
    assert (await client.get("/v1/indexes/shelf/documents/a")).status_code == 404

    nothing = await client.post("/v1/query", json={"query": "zebra", "mode": "rag:shelf", "retrieval": "lexical"})
    assert nothing.json()["text"] == "The documents do not answer this."
    assert nothing.json()["retrieval"]["abstained"] and nothing.json()["usage"]["completion_tokens"] == 0
    stream = {"model": "rag:shelf", "messages": [{"role": "user", "content": "zebra"}], "stream": True}
    told = await client.post("/v1/chat/completions", json=stream | {"ragtune": {"min_score": 2.0}})
    assert "documents do not answer" in "".join(
        json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
        for line in told.text.splitlines()
        if line.startswith("data: {") and json.loads(line[6:])["choices"]
    )
    deleted = await client.delete("/v1/indexes/shelf")
    assert deleted.json()["versions"] == ["shelf@1", "shelf@2"]
    assert (await client.get("/v1/indexes/shelf/documents")).status_code == 404


async def test_uploads_that_come_together_share_a_build(client: httpx.AsyncClient, parts: Parts) -> None:
    uploads = [put(client, f"crowd/documents/{number}.txt", f"text {number}", wait=True) for number in range(8)]
    answers = await asyncio.gather(*uploads)
    assert {answer.status_code for answer in answers} == {200}
    jobs = (await client.get("/v1/jobs", params={"resource": "index:crowd"})).json()
    assert len(jobs) <= 3 and {job["state"] for job in jobs} == {"succeeded"}
    assert len(await found(client, "crowd", "text")) == 8
    await client.delete("/v1/indexes/crowd")


async def test_a_build_is_a_job_that_can_be_watched_and_a_second_one_meanwhile_is_refused(
    client: httpx.AsyncClient, documents: Path
) -> None:
    first = await client.post("/v1/indexes/built/builds", json={"path": str(documents)})
    assert (first.status_code, first.json()["state"]) == (202, "queued")
    second = await client.post("/v1/indexes/built/builds", json={"path": str(documents)})
    assert second.status_code == 423 and first.json()["id"] in second.json()["error"]["message"]
    busy = await client.delete("/v1/indexes/built")
    assert busy.status_code == 423
    events = await client.get(f"/v1/jobs/{first.json()['id']}/events", timeout=100)
    assert '"result":{"version":"built@1"' in events.text.replace(" ", "")
    again = await client.post("/v1/indexes/built/builds", json={}, params={"wait": True}, timeout=100)
    assert again.json()["result"] == {"version": "built@1", "unchanged": True}
    wrong = await client.post(
        "/v1/indexes/built/builds", json={"path": str(documents / "nothing")}, params={"wait": True}, timeout=100
    )
    assert wrong.json()["error"]["code"] == "refused_artifact"
    failed = (await client.get("/v1/jobs", params={"resource": "index:built", "state": "failed"})).json()[0]["id"]
    resumed = await client.post(f"/v1/jobs/{failed}/resume", json={})
    assert (resumed.status_code, resumed.json()["resumes"]) == (202, failed)
    assert (await client.get(f"/v1/jobs/{resumed.json()['id']}/events", timeout=100)).text.count(
        "refused_artifact"
    ) == 1
    done = await client.post(f"/v1/jobs/{first.json()['id']}/resume", json={})
    assert done.status_code == 422 and "nothing to resume" in done.json()["error"]["message"]
    assert (await client.delete("/v1/indexes/built")).json()["versions"] == ["built@1"]


@pytest.mark.parametrize(
    ("path", "content", "status", "told"),
    [
        ("x/documents/image.png", b"png", 422, "does not end as a format"),
        ("x/documents/empty.md", b"  ", 422, "empty"),
        ("x/documents/binary.md", b"\x00\x01\x02\xff", 422, "binary.md"),
        ("x/documents/broken.pdf", b"%PDF-1.7 truncated", 422, "broken.pdf"),
        ("x/documents/broken.docx", b"PK\x03\x04 no", 422, "broken.docx"),
        ("x/documents/a//b.md", b"text", 400, "empty parts"),
        ("x/documents/%2e%2e/b.md", b"text", 400, ".."),
        ("x/documents/a%7fb.md", b"text", 400, "printable"),
        ("X/documents/a.md", b"text", 400, "legal name"),
        ("x/documents/a.md?metadata=[1]", b"text", 400, "JSON object"),
        ('x/documents/a.md?metadata={"a":"\\ud800"}', b"text", 422, "surrogate"),
        ('x/documents/a.md?metadata={"a":Infinity}', b"text", 422, "finite"),
        ('x/documents/twice.jsonl?title=t', b'{"id":"a","text":"a"}\n{"id":"b","text":"b"}\n', 400, "several"),
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_taken_changes_nothing(
    client: httpx.AsyncClient, parts: Parts, path: str, content: bytes, status: int, told: str
) -> None:
    response = await client.put(f"/v1/indexes/{path}", content=content, timeout=60)
    assert response.status_code == status, response.text
    assert told in response.json()["error"]["message"]
    assert "x" not in parts.indexes.documents.indexes()
    assert not list((parts.settings.home / "store" / "index" / ".staging").glob("*"))


async def test_an_id_that_another_file_has_is_refused_and_never_dropped_silently(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    stored = parts.indexes.documents
    stored.put("x", "", [(Source("a.md", "0", 1), [Document("a.md", "A", "from the folder")])], author="me")
    refused = await put(client, "x/documents/a.md", "from somebody else")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "refused_artifact")
    assert "'a.md' cannot be stored: a.md has this id already" in refused.json()["error"]["message"]
    assert stored.sources("x", "") == {"a.md": ("0", 1)}
    some = await put(client, "x/documents/b.jsonl", '{"id": "a.md", "text": "one"}\n{"id": "b", "text": "two"}')
    assert some.json()["changes"] == {"b": "added"}
    assert some.json()["problems"] == [{"source": "a.md", "reason": "a.md has this id already"}]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"id": "a", "text": "   "}, "holds no text"),
        ({"id": "a", "text": "a\0b"}, "zero bytes"),
        ({"id": "a", "text": "a", "metadata": {"k": "v" * 2000}}, "2000 characters"),
        ({"id": "a", "text": "a", "metadata": {str(n): n for n in range(40)}}, "40 metadata fields"),
    ],
)  # fmt: skip
async def test_a_text_that_no_file_could_hold_is_refused(
    client: httpx.AsyncClient, parts: Parts, document: dict[str, object], told: str
) -> None:
    response = await client.post("/v1/indexes/untaken/documents", json={"documents": [document]})
    assert response.status_code == 422 and told in response.json()["error"]["message"], response.text
    assert "untaken" not in parts.indexes.documents.indexes()


async def test_an_id_that_a_file_has_twice_is_told(client: httpx.AsyncClient) -> None:
    records = b'{"id":"a","text":"one"}\n{"id":"a","text":"two"}\n'
    told = (await put(client, "twice/documents/notes.jsonl", records)).json()
    assert told["changes"] == {"a": "added"}
    assert [problem["reason"] for problem in told["problems"]] == ["a second document with this id"]
    while (await client.delete("/v1/indexes/twice")).status_code == 423:
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "field",
    [
        '"min_score": NaN',
        '"min_score": 1e999',
        '"filters": {"a": 1e999}',
        '"top_k": 0',
        '"retrieval": "best"',
        '"query": ""',
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(client: httpx.AsyncClient, field: str) -> None:
    for path, query in (
        ("indexes/handbook/search", '"query": "q", '),
        ("query", '"query": "q", "mode": "rag:handbook", '),
    ):
        if '"query"' in field:
            query = ""
        body = f"{{{query}{field}}}"
        response = await client.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, response.text


async def test_a_document_larger_than_the_limit_is_refused(make_parts: Make, call: Call) -> None:
    async with call(make_parts(max_document=100)) as client:
        response = await put(client, "x/documents/long.txt", b"x" * 101)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
        assert "RAGTUNE_MAX_DOCUMENT" in response.json()["error"]["message"]


async def test_two_tenants_share_an_index_and_nothing_in_it(parts: Parts, call: Call, tmp_path: Path) -> None:
    keys = Keys(Database(tmp_path / "keys.db"))  # one of its own: the others' service is open while no key was made
    made = {
        name: keys.create(name, ("query", "index:write"), tenant)[1]
        for name, tenant in (("ada-key", "ada"), ("eve-key", "eve"), ("all-key", ""))
    }
    guarded = Parts(**{**parts.__dict__, "gate": Gate(keys, loopback=True)})
    async with call(guarded) as client:

        def as_(who: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {made[who]}"}

        for who, text in (("ada-key", "apple ada"), ("eve-key", "apple eve"), ("all-key", "apple all")):
            body = {"documents": [{"id": "same", "text": text}, {"id": who, "text": f"{text} too"}]}
            response = await client.post("/v1/indexes/shared/documents", json=body, headers=as_(who))
            assert response.status_code == 202
        job = await client.post(
            "/v1/indexes/shared/builds", json={}, params={"wait": True}, headers=as_("all-key"), timeout=100
        )
        while job.status_code == 423:
            await asyncio.sleep(0.2)
            job = await client.post(
                "/v1/indexes/shared/builds", json={}, params={"wait": True}, headers=as_("all-key"), timeout=100
            )
        assert job.status_code == 200, job.text

        async def texts(who: str, method: str) -> set[str]:
            asked = {"query": "apple", "top_k": 50, "retrieval": method}
            response = await client.post("/v1/indexes/shared/search", json=asked, headers=as_(who))
            return {passage["text"] for passage in response.json()["passages"]}

        for method in ("dense", "lexical", "hybrid"):
            shared = {"apple all", "apple all too"}
            assert await texts("ada-key", method) == {"apple ada", "apple ada too"} | shared
            assert await texts("eve-key", method) == {"apple eve", "apple eve too"} | shared
            assert len(await texts("all-key", method)) == 6
        listed = (await client.get("/v1/indexes/shared/documents", headers=as_("ada-key"))).json()["documents"]
        assert {document["tenant"] for document in listed} == {"", "ada"}
        shown = await client.get("/v1/indexes/shared/documents/all-key", headers=as_("ada-key"))
        assert shown.json()["tenant"] == ""
        asked = {"tenant": "eve"}
        for who, status in (("ada-key", 403), ("all-key", 200)):
            theirs = await client.get("/v1/indexes/shared/documents/eve-key", params=asked, headers=as_(who))
            assert theirs.status_code == status
        for body in ({"path": "/tmp"}, {"max_tokens": 32}):
            refused = await client.post("/v1/indexes/shared/builds", json=body, headers=as_("ada-key"))
            assert refused.status_code == 403
        for path, method in (("shared", "DELETE"), ("shared/rollback", "POST")):
            refused = await client.request(
                method, f"/v1/indexes/{path}", headers=as_("ada-key") | {"content-type": "application/json"}
            )
            assert refused.status_code == 403
        others = await client.delete("/v1/indexes/shared/documents/eve-key", headers=as_("ada-key"))
        assert others.status_code == 404
        assert (await client.delete("/v1/indexes/shared/documents/same", headers=as_("ada-key"))).status_code == 200
        assert "apple ada" not in await texts("ada-key", "hybrid") and "apple eve" in await texts("eve-key", "hybrid")
        while (await client.delete("/v1/indexes/shared", headers=as_("all-key"))).status_code == 423:
            await asyncio.sleep(0.2)  # a build that the uploads asked for is at work


async def test_the_command_adds_files_that_stay_when_a_folder_is_built(
    parts: Parts, embedding: Path, tmp_path: Path
) -> None:
    environ = {**os.environ, "RAGTUNE_HOME": str(tmp_path / "home"), "RAGTUNE_EMBEDDING_MODEL": str(embedding)}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("apple")
    (tmp_path / "notes.jsonl").write_text('{"id": "n1", "text": "quince"}\n{"id": "n2"}\n')

    def index(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ragtune", "index", *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    added = index("add", "shelf", str(tmp_path / "notes.jsonl"))
    assert added.returncode == 0 and "published shelf@1: 1 document," in added.stdout, added.stderr
    assert "not stored: notes.jsonl, line 2" in added.stderr
    built = index("build", str(tmp_path / "docs"), "--name", "shelf", "--json")
    assert json.loads(built.stdout)["manifest"]["documents"] == 2
    found = index("search", "shelf", "quince", "--retrieval", "lexical", "--json")
    assert [passage["document"] for passage in json.loads(found.stdout)] == ["n1"]
    assert index("remove", "shelf", "n1").returncode == 0
    assert json.loads(index("search", "shelf", "quince", "--retrieval", "lexical", "--json").stdout) == []
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.md").write_text("birne")
    asked = index("sync", str(tmp_path / "elsewhere"), "--name", "shelf")
    assert asked.returncode != 0 and "1 of 1 documents of 'shelf' are not below" in asked.stdout + asked.stderr
    assert len(json.loads(index("documents", "shelf", "--json").stdout)) == 1
    refused = index("add", "shelf", sys.executable)
    assert refused.returncode == 1 and "does not end as a format" in refused.stderr


async def test_the_names_of_files_that_could_not_be_read_are_kept_from_other_tenants(
    parts: Parts, call: Call, tmp_path: Path
) -> None:
    keys = Keys(Database(tmp_path / "keys.db"))
    ada, eve, everybody = (
        {"Authorization": f"Bearer {keys.create(name, ('query', 'index:write'), tenant)[1]}"}
        for name, tenant in (("ada-key", "ada"), ("eve-key", "eve"), ("all-key", ""))
    )
    async with call(Parts(**{**parts.__dict__, "gate": Gate(keys, loopback=True)})) as client:
        records = '{"id": "a", "text": "apple"}\nsecret'
        path = "/v1/indexes/told/documents/ada.jsonl"
        uploaded = await client.put(path, content=records, params={"wait": True}, headers=ada, timeout=100)
        assert uploaded.status_code == 200 and len(uploaded.json()["problems"]) == 1
        for path in ("/v1/indexes/told", "/v1/indexes", "/v1/indexes/told/versions"):
            assert "ada.jsonl" not in (await client.get(path, headers=eve)).text
            assert "ada.jsonl" in (await client.get(path, headers=everybody)).text
