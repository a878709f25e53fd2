"""Similarity by /v1/embeddings: of our own service, and of a server that knows a few words and fails as told."""

from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from eval.client import Service
from eval.embedding import AT_ONCE, embedding_model, similarity
from eval.opinion import Opinion
from eval.runfile import Model
from eval.runfile import Server as Described
from ragtune.errors import Unavailable

WINDOW = 8  # words
VECTORS = {"dog": [1.0, 0.0], "hound": [0.8, 0.6], "cat": [0.0, 2.0], "god": [-1.0, 0.0]}


@dataclass
class Server:
    """Embeds the words it knows, as [0.6, 0.8] those it does not; refuses a batch with a long text, as ours does."""

    busy: list[int] = field(default_factory=list)  # statuses it answers first
    broken: bool = False
    asked: list[list[str]] = field(default_factory=list)

    async def ready(self) -> dict[str, str]:
        return {}

    async def embed(self, request: Request) -> Response:
        if self.busy:
            return Response(status_code=self.busy.pop(0), headers={"Retry-After": "0"})
        texts = (await request.json())["input"]
        self.asked.append(texts)
        if any(len(text.split()) > WINDOW for text in texts):
            return JSONResponse({"error": {"message": "too long", "type": "t", "code": "c"}}, 400)
        data = [{"index": i, "embedding": VECTORS.get(text, [0.6, 0.8])} for i, text in enumerate(texts)]
        return JSONResponse({"data": data[: -1 if self.broken else None][::-1]})


def known(server: Server) -> httpx.AsyncClient:
    app = FastAPI()
    app.add_api_route("/v1/embeddings", server.embed, methods=["POST"], response_model=None)
    app.add_api_route("/readyz", server.ready)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def found(server: Server, text: str, *answers: str) -> Opinion:
    async with known(server) as client:
        return await similarity(Service(client, "http://service", 1), "m", text, answers)


async def test_our_own_service_embeds_for_the_evaluator(client: httpx.AsyncClient) -> None:
    service = Service(client, "http://service", 1)
    model = embedding_model(await service.describe())
    assert (await similarity(service, model, "abc", ["zzz", "cab"])).score == pytest.approx(1)
    assert (await similarity(service, model, "abc", ["zzz"])).score == pytest.approx(0)


@pytest.mark.parametrize(("answers", "score"), [(["cat", "hound"], 0.8), (["god"], -1), (["dog"], 1)])
async def test_the_nearest_accepted_answer_counts(answers: list[str], score: float) -> None:
    assert (await found(Server(), "dog", *answers)).score == pytest.approx(score)


async def test_each_text_is_embedded_once_and_many_at_a_time() -> None:
    server, answers = Server(), [f"word {n}" for n in range(AT_ONCE)]
    assert (await found(server, "word 0", *answers)).score == pytest.approx(1)
    assert (await found(server, "dog", *answers)).score == pytest.approx(0.6)
    assert [len(batch) for batch in server.asked] == [AT_ONCE, AT_ONCE, 1]


async def test_a_text_without_a_letter_is_like_nothing_and_is_not_sent() -> None:
    server = Server()
    assert await found(server, " \n", "dog") == Opinion(0.0)
    assert server.asked == []


async def test_a_text_that_is_too_long_is_like_none_it_could_be_compared_with_and_costs_no_other_its_similarity() -> (
    None
):
    long = "word " * 20
    assert await found(Server(), long, "dog") == Opinion() == await found(Server(), "dog", long)
    assert (await found(Server(), "dog", "hound", long)).score == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("server", "opinion"),
    [
        (Server([429, 503]), Opinion(1.0, retries=2)),
        (Server([500]), Opinion(error="HTTP 500: ")),
        (Server([429] * 6), Opinion(error="HTTP 429: ", retries=5)),
        (Server(broken=True), Opinion(error="not as many vectors as texts")),
    ],
)
async def test_an_overload_is_waited_out_and_other_failures_are_told(server: Server, opinion: Opinion) -> None:
    assert await found(server, "dog", "dog") == opinion


async def test_a_service_that_is_gone_is_said_to_be() -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as client:
        with pytest.raises(Unavailable, match="no longer answers"):
            await similarity(Service(client, "http://127.0.0.1:1", 1), "m", "dog", ["dog"])


@pytest.mark.parametrize("models", [(), (Model(id="base", kind="base", root="base"),)])
def test_a_service_without_an_embedding_model_is_told_before_any_work(models: tuple[Model, ...]) -> None:
    described = Described(base="b", note=None, fingerprint="f", device="cpu", max_model_len=1, models=models)
    with pytest.raises(Unavailable, match="embedding_similarity"):
        embedding_model(described)
