"""A ragtune service whose answers can be computed by eye, on a real port: the few routes that the evaluator asks.

Mode `base` repeats the question, one with `rag` finds the answer in a passage, or in those that are given; a few words
in a question make trouble.
"""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response


@dataclass
class Behaviour:
    """What the server is told to do, and what it saw."""

    busy: int = 0  # requests answered 429 before the rest is served
    gone_after: int | None = None  # answers after which it takes no more
    known: tuple[str, ...] = ("base", "help-lora+rag", "best")
    best: str = "help-lora@2+rag:handbook@3"  # what the alias means
    recipe: dict[str, Any] = field(default_factory=dict)  # that help-lora was trained by
    prompt: bool = False  # in time even for those
    answered: int = 0
    at_once: int = 0
    most_at_once: int = 0
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    searched: list[dict[str, Any]] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)
    embedded: list[list[str]] = field(default_factory=list)
    embeds: bool = False  # even what is "unembeddable"
    late: str = "too late"  # what stands in questions that are not answered in time
    conversations: list[dict[str, Any]] = field(default_factory=list)


MINILM = {"id": "minilm", "kind": "embedding", "root": "minilm"}


def refused(status: int, message: str, retry_after: str | None = None) -> Response:
    headers = {"Retry-After": retry_after} if retry_after else None
    body = {"error": {"message": message, "type": "t", "param": None, "code": "c"}}
    return JSONResponse(body, status, headers)


def application(behaviour: Behaviour) -> FastAPI:
    """The few routes the evaluator asks."""
    app = FastAPI()

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        return {
            "base": "echo",
            "note": "made up",
            "fingerprint": "f",
            "device": "cpu",
            "max_model_len": 64,
            "deadline": 60,
        }

    @app.get("/readyz")
    async def readyz() -> Response:
        gone = behaviour.gone_after is not None and behaviour.answered >= behaviour.gone_after
        return refused(503, "the engine is not running") if gone else JSONResponse({})

    @app.get("/v1/models")
    async def models() -> dict[str, object]:
        return {"data": [{"id": "help-lora", "kind": "lora", "root": "help-lora@2", "other": 1}, MINILM]}

    @app.get("/v1/models/{id:path}")
    async def model(id: str) -> Response:  # noqa: A002 - as in the API
        if id not in behaviour.known:
            return refused(404, f"unknown mode {id!r}; did you mean 'base'?")
        kind, root = ("alias", behaviour.best) if id == "best" else ("combination", id)
        return JSONResponse({"id": id, "kind": kind, "root": root})

    @app.get("/v1/adapters/help-lora")
    @app.get("/v1/adapters/help-lora@2")
    @app.get("/v1/adapters/help-lora@3")
    async def adapter() -> dict[str, object]:
        return {
            "name": "help-lora",
            "manifest": {"kind": "lora", "training": {"seconds": 42.4, "steps": 3, "recipe": behaviour.recipe}},
        }

    @app.get("/v1/indexes/{name}")
    async def index(name: str) -> dict[str, object]:
        return {"name": "handbook", "version": name, "manifest": {"seconds": 3.5, "paid_seconds": 3.5, "passages": 9}}

    @app.post("/v1/indexes/{name}/search")
    async def search(name: str, request: Request) -> dict[str, object]:
        body = await request.json()
        behaviour.searched.append(body)
        return {"version": name, "method": "hybrid", "passages": found(body)}

    @app.post("/tokenize")
    async def tokenize(request: Request) -> dict[str, object]:
        body = await request.json()
        text = body.get("prompt") or "".join(f"<{one['role']}>{one['content']}" for one in body["messages"])
        return {"tokens": [ord(letter) for letter in text]}

    @app.post("/v1/completions")
    async def completions(request: Request) -> dict[str, object]:
        body = await request.json()
        behaviour.scored.append(body)
        logprobs = [None, *(-1.0 if token == ord("x") else -0.5 for token in body["prompt"][1:])]
        return {"choices": [{"text": "", "logprobs": {"token_logprobs": logprobs}}]}

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        texts = (await request.json())["input"]
        if "unembeddable" in texts and not behaviour.embeds:
            return refused(500, "oops")
        behaviour.embedded.append(texts)
        vectors = [[1.0, 0.0] if text == "fine" else [0.6, 0.8] for text in texts]
        return JSONResponse({"data": [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]})

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> dict[str, object]:
        body = await request.json()
        behaviour.conversations.append(body)
        return {
            "id": "chatcmpl-1",
            "choices": [{"message": {"content": body["messages"][0]["content"]}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
            "ragtune": {"mode": body["model"], "versions": {}, "timings": {"first_token_ms": 5, "total_ms": 9}},
        }

    @app.post("/v1/query")
    async def query(request: Request) -> Response:
        body = await request.json()
        behaviour.at_once += 1
        behaviour.most_at_once = max(behaviour.most_at_once, behaviour.at_once)
        behaviour.asked.append(body["query"])
        behaviour.bodies.append(body)
        alone = behaviour.at_once == 1
        try:
            await asyncio.sleep(0.05)  # long enough for all who may ask at once to do so
            return answered(behaviour, body, 5 if alone and behaviour.at_once == 1 else 50)
        finally:
            behaviour.at_once -= 1

    return app


def found(body: dict[str, Any]) -> list[dict[str, object]]:
    """What a search gives: a document with the answer to a question with a number in it, and others."""
    number = (re.findall("[0-9]+", body["query"]) or ["0"])[0]
    documents = [f"{number}.md", "other.md", "third.md"]
    if body.get("documents") is not None:
        documents = [document for document in documents if document in body["documents"]]
    documents = [document for document in documents if document not in body.get("without_documents", [])]
    texts = {f"{number}.md": f"It is {number} months."}
    return [
        {
            "id": f"p{place}",
            "document": name,
            "text": texts.get(name, f"Of {name}."),
            "start": 0,
            "end": 1,
            "score": 9 - place,
        }
        for place, name in enumerate(documents)
    ][: body["top_k"]]


def answered(behaviour: Behaviour, body: dict[str, Any], first_token_ms: float) -> Response:
    """What `/v1/query` says."""
    if behaviour.gone_after is not None and behaviour.answered >= behaviour.gone_after:
        return refused(503, "the engine is not running", "0")
    if behaviour.busy and body["max_tokens"] > 1:
        behaviour.busy -= 1
        return refused(429, "the queue is full", "0")
    if behaviour.late in body["query"] and not behaviour.prompt:
        return refused(504, "the deadline passed")
    if "garbled" in body["query"]:
        return JSONResponse({"text": 1})
    behaviour.answered += 1
    rag = "rag" in body["mode"] or body["mode"] == "best"
    number = "".join(filter(str.isdigit, body["query"]))
    text = f"It is {number} months." if rag and number else "Not in the documents." if rag else body["query"]
    passages = [{"id": "p", "document": f"{number}.md", "text": text, "start": 0, "end": 1, "number": 1}] if rag else []
    if body.get("passages") is not None:
        text = " ".join(given["text"] for given in body["passages"])
        passages = [
            {"id": f"given-{place}", "start": 0, "end": 1, "number": place, **given}
            for place, given in enumerate(body["passages"], start=1)
        ]
    return JSONResponse(
        {
            "id": f"gen-{behaviour.answered}",
            "mode": body["mode"],
            "resolved_mode": "help-lora@2+rag:handbook@3" if rag else "base",
            "versions": {"weights": "help-lora@2", "index": "handbook@3"} if rag else {},
            "text": text,
            "finish_reason": "stop",
            "passages": passages,
            "usage": {"prompt_tokens": 30 if rag else 10, "completion_tokens": 4, "cached_tokens": 2},
            "timings": {"first_token_ms": first_token_ms, "total_ms": 9},
        }
    )


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
