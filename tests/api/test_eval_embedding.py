"""Similarity by /v1/embeddings: of our own service, and of a server that knows a few words and fails as told."""

from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from eval.embedding import AT_ONCE, embedding_model, similarities
from ragtune.errors import Unavailable

WINDOW = 8  # words
VECTORS = {"dog": [1.0, 0.0], "hound": [0.8, 0.6], "cat": [0.0, 2.0], "god": [-1.0, 0.0]}


@dataclass
class Server:
    """Embeds the words it knows, as [0.6, 0.8] those it does not; refuses a batch with a long text, as ours does."""

    busy: list[int] = field(default_factory=list)  # statuses it answers first
    broken: bool = False
    asked: list[list[str]] = field(default_factory=list)

    async def embed(self, request: Request) -> Response:
        if self.busy:
            return Response(status_code=self.busy.pop(0), headers={"Retry-After": "0"})
        texts = (await request.json())["input"]
        self.asked.append(texts)
        if any(len(text.split()) > WINDOW for text in texts):
            return JSONResponse({"error": {"message": "too long", "type": "t", "code": "c"}}, 400)
        data = [{"index": i, "embedding": VECTORS.get(text, [0.6, 0.8])} for i, text in enumerate(texts)]
        return JSONResponse({"data": data[: -1 if self.broken else None][::-1]})


def known(server: Server, models: object = None) -> httpx.AsyncClient:
    app = FastAPI()
    app.add_api_route("/v1/embeddings", server.embed, methods=["POST"], response_model=None)
    app.add_api_route("/v1/models", lambda: models)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def test_our_own_service_embeds_for_the_evaluator(client: httpx.AsyncClient) -> None:
    model = await embedding_model(client)
    found = await similarities(client, model, ["abc", "abc"], [["zzz", "cab"], ["zzz"]])
    assert found == [pytest.approx(1), pytest.approx(0)]


async def test_the_nearest_accepted_answer_counts() -> None:
    async with known(Server()) as service:
        found = await similarities(service, "m", ["dog", "dog", "dog"], [["cat", "hound"], ["god"], ["dog"]])
    assert found == [pytest.approx(0.8), pytest.approx(-1), pytest.approx(1)]


async def test_each_text_is_embedded_once_and_many_at_a_time() -> None:
    server, texts = Server(), [f"word {n}" for n in range(AT_ONCE)]
    async with known(server) as service:
        found = await similarities(service, "m", texts + texts, [["dog"]] * (2 * AT_ONCE))
    assert found == [pytest.approx(0.6)] * (2 * AT_ONCE)
    assert [len(batch) for batch in server.asked] == [AT_ONCE, 1]


async def test_a_text_without_a_letter_is_like_nothing_and_is_not_sent() -> None:
    server = Server()
    async with known(server) as service:
        assert await similarities(service, "m", [" \n"], [["dog"]]) == [0.0]
    assert server.asked == [["dog"]]


async def test_one_text_that_is_too_long_costs_no_other_its_similarity() -> None:
    long = "word " * 20
    async with known(Server()) as service:
        found = await similarities(service, "m", [long, "dog", "dog"], [["dog"], ["hound", long], [long]])
    assert found == [None, pytest.approx(0.8), None]


@pytest.mark.parametrize(
    ("server", "found"),
    [(Server([429, 503]), 1.0), (Server([500]), None), (Server([429] * 6), None), (Server(broken=True), None)],
)
async def test_an_overload_is_waited_out_and_other_failures_are_no_similarity(server: Server, found: object) -> None:
    async with known(server) as service:
        assert await similarities(service, "m", ["dog"], [["dog"]]) == [found]


@pytest.mark.parametrize("models", [{"data": [{"id": "base", "kind": "base"}]}, {"models": []}])
async def test_a_service_without_an_embedding_model_is_told_before_any_work(models: object) -> None:
    async with known(Server(), models) as service:
        with pytest.raises(Unavailable, match="embedding_similarity"):
            await embedding_model(service)
