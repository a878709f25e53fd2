"""/v1/evaluations: what begins, what is refused before it has, and what comes out of it."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from eval.runfile import read_run
from ragtune.examples import Example
from ragtune.home import announce
from ragtune.job import Job
from ragtune.keys import Keys
from ragtune.store import Database
from service.access import Gate
from service.evaluating import evaluate
from service.parts import Parts
from tests.api.conftest import Call, Make, Serve
from tests.fakes import EchoEngine

EXAMPLES = [{"id": str(number), "query": f"{number}?", "answers": [f"{number}?"]} for number in range(3)]
TASK = {"name": "echo", "metrics": ["containment"], "max_tokens": 20}
POSTED = {"content-type": "application/json"}


def suite(**fields: Any) -> dict[str, Any]:
    tasks = [{**TASK, "examples": EXAMPLES}]
    return {"name": "echoes", "tasks": tasks, "arms": [{"mode": "base"}, {"mode": "prompt:brief"}], "alone": 1} | fields


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that suites may name files in."""
    folder = tmp_path.resolve() / "data"
    folder.mkdir()
    (folder / "heldout.jsonl").write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    (folder / "broken.jsonl").write_text(json.dumps(EXAMPLES[0]) + '\n{"id": "2"}\n')
    (folder / "empty.jsonl").write_text("")
    (folder / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (tmp_path / "secret.jsonl").write_text(json.dumps(EXAMPLES[0]))
    return folder


@pytest.fixture
async def parts(make_parts: Make, data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    """A service whose workers know the roots, too."""
    monkeypatch.setenv("RAGTUNE_EVALUATION_ROOTS", str(data))
    made = make_parts(evaluation_roots=(data,))
    yield made
    await made.workers.close()


@pytest.fixture
async def live(parts: Parts, serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server, which the jobs of its home find."""
    async with serve(parts) as url:
        with announce(parts.settings.home, url):
            async with httpx.AsyncClient(base_url=url, timeout=100) as client:
                yield client


def runs(parts: Parts) -> set[str]:
    return {path.name for path in parts.settings.runs.glob("eval-*")}


async def test_examples_that_are_sent_along_become_a_report_in_three_formats(
    live: httpx.AsyncClient, parts: Parts
) -> None:
    comparison = {"task": "echo", "metric": "containment", "arm": "base", "over": "prompt:brief"}
    gate = {"arm": "prompt:brief", "task": "echo", "least": 50}
    answer = await live.post(
        "/v1/evaluations", params={"wait": True}, json=suite(comparisons=[comparison], gates=[gate])
    )
    assert answer.status_code == 200, answer.text
    job = Job.model_validate(answer.json())
    assert (job.kind, job.state, job.author) == ("evaluation", "succeeded", "local")

    told = (await live.get(f"/v1/evaluations/{job.id}")).json()
    assert told["summary"]["questions"] == 6 and told["summary"]["failed"] == 0
    assert told["summary"]["passed"] is False
    assert any("base" in sentence for sentence in told["summary"]["verdict"])
    assert (await live.get("/v1/evaluations")).json()[0] == told
    run = parts.settings.runs / told["summary"]["run"]
    assert {item.arm: item.scores["containment"] for item in read_run(run).items} == {"base": 1, "prompt:brief": 0}

    report = await live.get(f"/v1/evaluations/{job.id}/report")
    assert {arm["name"] for arm in report.json()["arms"]} == {"base", "prompt:brief"}
    for shown_as, kind, begins in (("html", "text/html", "<!doctype html>"), ("markdown", "text/markdown", "**")):
        report = await live.get(f"/v1/evaluations/{job.id}/report", params={"format": shown_as})
        assert report.headers["content-type"].startswith(kind) and report.text.lower().startswith(begins)
        assert "sandbox" in report.headers["content-security-policy"]
    log = await live.get(f"/v1/jobs/{job.id}/log")
    assert "asked 6 of 6, 0 failed" in log.text


async def test_a_file_inside_the_roots_is_asked_and_a_cancelled_evaluation_is_resumed(
    live: httpx.AsyncClient, parts: Parts, data: Path
) -> None:
    engine = parts.engine
    assert isinstance(engine, EchoEngine)
    engine.pace = 0.05
    tasks = [{**TASK, "examples": str(data / "heldout.jsonl")}]
    begun = await live.post("/v1/evaluations", json=suite(tasks=tasks, concurrency=1))
    assert begun.status_code == 202, begun.text
    name = begun.json()["id"]
    second = await live.post("/v1/evaluations", json=suite(tasks=tasks))
    assert second.status_code == 202  # it waits its turn
    async with asyncio.timeout(60):
        while parts.jobs.get(name).progress is None:
            await asyncio.sleep(0.05)
    assert parts.jobs.get(second.json()["id"]).state == "queued"
    refused = await live.get(f"/v1/evaluations/{name}/report")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "incompatible_parts")
    assert "is running; its report is made at its end" in refused.json()["error"]["message"]
    for job in (second.json()["id"], name):
        assert (await live.post(f"/v1/jobs/{job}/cancel", headers=POSTED)).status_code == 200
    async with asyncio.timeout(20):
        assert (await parts.workers.wait(name)).state == "cancelled"
    refused = await live.get(f"/v1/evaluations/{name}/report")
    assert refused.status_code == 422 and f"/v1/jobs/{name}/resume" in refused.json()["error"]["message"]
    engine.pace = 0
    resumed = await live.post(f"/v1/jobs/{name}/resume", headers=POSTED)
    assert (resumed.status_code, resumed.json()["resumes"]) == (202, name), resumed.text
    assert (await parts.workers.wait(resumed.json()["id"])).state == "succeeded"
    assert parts.jobs.get(resumed.json()["id"]).spec == parts.jobs.get(name).spec  # in the same folder


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize(
    ("changed", "status", "param", "told"),
    [
        ({"tolerence": 2}, 400, "tolerence", "did you mean 'tolerance'"),
        ({"arms": [{"mod": "base"}]}, 400, "arms.0.mod", "did you mean 'mode'"),
        ({"arms": [{"label": "x"}]}, 400, "arms.0", "give an arm either a mode"),
        ({"arms": [{"mode": "rag+rag"}]}, 400, "arms.0.mode", "rag"),
        ({"arms": []}, 400, "arms", "at least 1"),
        ({"tasks": []}, 400, "tasks", "at least 1"),
        ({"tasks": [{**TASK, "examples": []}]}, 400, "tasks.0.examples", "at least 1"),
        ({"tasks": [{**TASK, "examples": [{"id": "1", "query": "q"}]}]}, 400, "tasks.0.examples.0.answers", "required"),
        ({"tasks": [{**TASK, "metrics": ["f1"], "examples": EXAMPLES}]}, 400, "tasks.0.metrics", "unknown metric 'f1'"),
        ({"tasks": [{**TASK, "examples": [EXAMPLES[0]] * 2}]}, 422, None, "task-0.jsonl, line 2: the id '0'"),
        ({"tasks": [{**TASK, "examples": "heldout.jsonl"}]}, 400, "tasks.0.examples", "must be absolute"),
        ({"tasks": [{**TASK, "examples": "/etc/passwd"}]}, 403, "tasks.0.examples", "RAGTUNE_EVALUATION_ROOTS"),
        ({"tasks": [{**TASK, "examples": "DATA/../secret.jsonl"}]}, 403, "tasks.0.examples", "allowed root"),
        ({"tasks": [{**TASK, "examples": "DATA/link.jsonl"}]}, 403, "tasks.0.examples", "allowed root"),
        ({"trained_on": ["/etc/passwd"]}, 403, "trained_on.0", "RAGTUNE_EVALUATION_ROOTS"),
        ({"arms": [{"endpoint": "http://10.0.0.1/v1", "model": "m"}]}, 403, "arms.0.endpoint", "ragtune eval run"),
        ({"arms": [{"mode": "base", "api_key_env": "HOME"}]}, 400, "arms.0", "belongs to an arm with an endpoint"),
        ({"judge": {"model": "m", "endpoint": "http://10.0.0.1/v1"}}, 403, "judge.endpoint", "ragtune eval run"),
        ({"judge": {"model": "bse"}}, 404, "judge.model", "did you mean"),
        ({"arms": [{"mode": "base"}, {"mode": "my-lra"}]}, 404, "arms.1.mode", "did you mean 'my-lora'"),
        ({"arms": [{"mode": "my-lora+other-lora"}]}, 422, "arms.0.mode", "at most"),
        ({"tasks": [{**TASK, "examples": "DATA/missing.jsonl"}]}, 422, None, "cannot read examples"),
        ({"tasks": [{**TASK, "examples": "DATA/empty.jsonl"}]}, 422, None, "holds no examples"),
        ({"tasks": [{**TASK, "examples": "DATA/broken.jsonl"}]}, 422, None, "line 2"),
    ],
)
async def test_what_is_wrong_is_told_before_there_is_a_job_and_leaves_nothing(
    client: httpx.AsyncClient,
    parts: Parts,
    data: Path,
    changed: dict[str, Any],
    status: int,
    param: str | None,
    told: str,
) -> None:
    jobs, left = parts.jobs.newest(1), runs(parts)
    body = json.loads(json.dumps(suite(**changed)).replace("DATA", str(data)))
    refused = await client.post("/v1/evaluations", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (status, param), refused.text
    assert told in error["message"]
    assert str(parts.settings.home) not in error["message"]
    assert (parts.jobs.newest(1), runs(parts)) == (jobs, left)


async def test_an_evaluation_whose_service_has_ended_fails_and_asks_nobody_else(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    begun = await client.post("/v1/evaluations", json=suite())  # nothing is announced in this home
    ended = await parts.workers.wait(begun.json()["id"])
    assert ended.state == "failed" and ended.error is not None
    assert "has ended; start it, and resume" in ended.error.message


async def test_an_evaluation_that_nobody_answered_fails_with_the_reason(live: httpx.AsyncClient, parts: Parts) -> None:
    tasks = [{**TASK, "examples": EXAMPLES, "max_tokens": 5000}]  # beyond the window
    begun = await live.post("/v1/evaluations", json=suite(tasks=tasks, alone=0))
    ended = await parts.workers.wait(begun.json()["id"])
    assert ended.state == "failed" and ended.error is not None
    assert "no question was answered" in ended.error.message


async def test_what_failed_is_asked_again_when_the_evaluation_is_resumed(live: httpx.AsyncClient, parts: Parts) -> None:
    engine = parts.engine
    assert isinstance(engine, EchoEngine)
    tasks = [{**TASK, "examples": EXAMPLES, "max_tokens": 5000}]
    begun = await live.post("/v1/evaluations", json=suite(tasks=tasks, alone=0))
    assert (await parts.workers.wait(begun.json()["id"])).state == "failed"
    engine.info = dataclasses.replace(engine.info, max_model_len=10_000)
    resumed = await live.post(f"/v1/jobs/{begun.json()['id']}/resume", headers=POSTED)
    ended = await parts.workers.wait(resumed.json()["id"])
    assert ended.state == "succeeded", ended.error


class Slow(dict[int, list[Example]]):
    """Examples that are written once `go` is set."""

    def __init__(self, examples: list[Example]) -> None:
        super().__init__({0: examples})
        self.begun, self.go = threading.Event(), threading.Event()

    def items(self) -> Any:
        """All of them, late."""
        self.begun.set()
        self.go.wait(10)
        return super().items()


async def test_a_request_that_is_given_up_while_its_examples_are_written_leaves_none_of_them(parts: Parts) -> None:
    before, sent = runs(parts), Slow([Example.model_validate(example) for example in EXAMPLES])
    given_up = asyncio.create_task(evaluate(parts, suite(), sent, "me"))
    await asyncio.to_thread(sent.begun.wait, 10)
    given_up.cancel()
    await asyncio.sleep(0.05)
    sent.go.set()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await asyncio.sleep(0.2)
    assert runs(parts) == before


async def test_other_jobs_are_no_evaluations(client: httpx.AsyncClient, parts: Parts) -> None:
    with parts.jobs.run("index build", "index:elsewhere", {}) as running:
        pass
    for path in (running.job.id, f"{running.job.id}/report", "job-unknown"):
        answer = await client.get(f"/v1/evaluations/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_name")
    assert (await client.get("/v1/evaluations/job-unknown/report", params={"format": "pdf"})).status_code == 400


async def test_it_needs_the_scope_eval_and_no_tenant(call: Call, parts: Parts, tmp_path: Path) -> None:
    keys = Keys(Database(tmp_path / "keys.db"))
    secrets = {
        name: keys.create(name, scopes, tenant)[1]
        for name, scopes, tenant in (
            ("asker", ["query"], ""),
            ("theirs", ["query", "eval"], "acme"),
        )
    }
    async with call(dataclasses.replace(parts, gate=Gate(keys, loopback=True))) as client:
        for name, told in (("asker", "the scope 'eval'"), ("theirs", "only of 'acme'")):
            headers = {"authorization": f"Bearer {secrets[name]}"}
            refused = await client.post("/v1/evaluations", json=suite(), headers=headers)
            assert refused.status_code == 403 and told in refused.json()["error"]["message"]
        headers = {"authorization": f"Bearer {secrets['asker']}"}
        assert (await client.get("/v1/evaluations/job-x/report", headers=headers)).status_code == 403
        assert (await client.get("/v1/evaluations", headers=headers)).status_code == 200
