"""Arms at other servers than ragtune's: real local ones, that answer, time out, fail, and cut their streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from eval.cli import evaluate
from eval.endpoint import LOST
from eval.runfile import Item, read_run
from ragtune.errors import RefusedArtifact
from tests.echo_service import Behaviour, application, serving

SUITE = """
name = "outside"
alone = 1
timeout = 1

[[tasks]]
name = "t"
examples = "t.jsonl"
metrics = ["containment"]

[[arms]]
endpoint = "{url}/v1/"
model = "large"
label = "outside"
api_key_env = "OUTSIDE_KEY"
instruction = "Be brief."
"""


def event(**more: object) -> str:
    return f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', **more})}\n\n"


def piece(text: str | None, finish: str | None = None) -> str:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": None})
DONE = "data: [DONE]\n\n"
WHOLE = [piece(""), ": keep-alive\n\n", piece("It is "), piece("fine."), piece(None, "stop"), USAGE, DONE]

TROUBLES: dict[str, list[str]] = {
    "cut": WHOLE[:4],
    "broken": [WHOLE[0], "data: {\n\n", DONE],
    "filtered": [piece("", "content_filter"), USAGE, DONE],
    "uncounted": [*WHOLE[:5], DONE],
    "told": [WHOLE[0], event(error={"message": "out of memory"}), DONE],
}


@dataclass
class Outside:
    """What the other server saw, and how often it says that it is busy."""

    busy: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def other(outside: Outside) -> FastAPI:
    """A server that streams; words in the question make trouble."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        outside.bodies.append(body)
        outside.keys.append(request.headers.get("Authorization"))
        question = body["messages"][-1]["content"].split()[0]
        if outside.busy:
            outside.busy -= 1
            return JSONResponse({"error": {"message": "slow down"}}, 429, {"Retry-After": "0"})
        if question == "500":
            return JSONResponse({"error": {"message": "oops", "type": "t", "code": None}}, 500)
        return StreamingResponse(stream(question), media_type="text/event-stream")

    async def stream(question: str) -> AsyncIterator[str]:
        if question == "silent":
            await asyncio.sleep(30)
        for line in TROUBLES.get("cut" if question == "stalled" else question, WHOLE):
            yield line
            await asyncio.sleep(0.01)
        if question == "torn":
            raise ConnectionResetError
        if question == "stalled":
            await asyncio.sleep(30)

    return app


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def url(outside: Outside) -> Iterator[str]:
    with serving(other(outside)) as at:
        yield at


@pytest.fixture
def run(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("RAGTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OUTSIDE_KEY", "secret")

    def started(*questions: str, suite: str = SUITE, at: str = url, more: tuple[str, ...] = ()) -> Result:
        examples = [{"id": str(n), "query": query, "answers": ["fine"]} for n, query in enumerate(questions)]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, examples)))
        (tmp_path / "suite.toml").write_text(suite.replace("{url}", at))
        arguments = ["run", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"), *more]
        return CliRunner().invoke(evaluate, arguments)

    return started


def items(folder: Path) -> list[Item]:
    return list(read_run(folder / "out").items)


def test_an_outside_arm_is_streamed_and_needs_no_service_of_ours(
    tmp_path: Path, run: Callable[..., Result], outside: Outside
) -> None:
    done = run("Why?", "When?")
    assert done.exit_code == 0, done.output
    first, second = items(tmp_path)
    assert first.reply is not None and first.scores == {"containment": 1}
    assert (first.reply.text, first.reply.resolved_mode, first.reply.usage.prompt_tokens) == ("It is fine.", "large", 7)
    assert first.reply.usage.cached_tokens is None  # the endpoint does not say
    assert 0 < first.reply.timings.first_token_ms < first.reply.timings.total_ms
    assert [(item.warm_up, item.alone) for item in (first, second)] == [(True, False), (False, True)]
    assert outside.keys == ["Bearer secret"] * 2
    assert outside.bodies[0]["messages"] == [{"role": "user", "content": "Why?\n\nBe brief."}]
    header = read_run(tmp_path / "out").header
    assert (header.server, header.url, len(header.alone["outside"])) == (None, "", 1)
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("500", "HTTP 500: oops"),
        ("cut", "the stream was cut off"),
        ("torn", None),  # all of it came before: the answer is whole
        ("broken", "not an answer: "),
        ("filtered", "the answer ended with 'content_filter'"),
        ("uncounted", "the stream told no usage"),
        ("told", "an error in the stream: out of memory"),
        ("silent", "no whole answer within"),
        ("stalled", "no whole answer within"),
    ],
)
def test_a_failed_answer_is_a_failed_item_and_the_run_completes(
    tmp_path: Path, run: Callable[..., Result], question: str, says: str | None
) -> None:
    done = run("Why?", question, suite=SUITE.replace("timeout = 1", "timeout = 0.5"))
    assert done.exit_code == 0, done.output
    good, bad = items(tmp_path)
    assert good.error is None
    assert (bad.error is None) if says is None else (says in str(bad.error) and bad.scores == {} and bad.reply is None)


def test_a_busy_endpoint_is_waited_for(tmp_path: Path, run: Callable[..., Result], outside: Outside) -> None:
    outside.busy = 2
    assert run("Why?", "When?").exit_code == 0
    assert [item.retries for item in items(tmp_path)] == [2, 0]


def test_an_endpoint_that_is_gone_is_given_up_while_the_other_arms_go_on(
    tmp_path: Path, run: Callable[..., Result]
) -> None:
    with serving(application(Behaviour())) as service:
        suite = SUITE.replace("alone = 1", "alone = 0\nconcurrency = 4") + '\n[[arms]]\nmode = "base"\n'
        questions = [f"fine {n}" for n in range(LOST + 10)]
        done = run(*questions, suite=suite, at="http://127.0.0.1:9", more=("--url", service))
    assert done.exit_code == 0, done.output
    gone = [item for item in items(tmp_path) if item.arm == "outside"]
    assert all(item.error for item in gone)
    assert sum(str(item.error).startswith("not asked") for item in gone) > 0
    assert all(item.scores == {"containment": 1} for item in items(tmp_path) if item.arm == "base")
    assert "failed; ask them again with --retry-failed" in done.stderr


def test_a_key_that_is_not_set_is_told_before_any_question(
    run: Callable[..., Result], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTSIDE_KEY")
    done = run("Why?")
    assert isinstance(done.exception, RefusedArtifact)
    assert "the environment variable OUTSIDE_KEY is not set" in done.exception.message
    assert outside.bodies == []


def test_an_outside_arm_is_not_asked_for_log_probabilities(run: Callable[..., Result], outside: Outside) -> None:
    done = run("Why?", suite=SUITE.replace('["containment"]', '["perplexity"]'))
    assert isinstance(done.exception, RefusedArtifact) and "tell no log-probability" in done.exception.message
    assert outside.bodies == []
