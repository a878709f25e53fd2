"""/v1/training: what begins, what is refused before it has, and that what comes out is served with the next request."""

import asyncio
import dataclasses
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.base_model import BaseModelInfo
from ragtune.audit import AuditLog
from ragtune.examples import Example
from ragtune.job import Job
from ragtune.jobs import Jobs
from ragtune.keys import Keys
from ragtune.mode import Mode
from ragtune.mode_aliases import ModeAliases
from ragtune.store import Database
from service.access import Gate
from service.parts import Parts
from service.submitting import keep
from service.training import TrainingSpec, sent_examples
from tests.api.conftest import Call, Make

EXAMPLES = [{"id": str(n), "query": f"{n} + {n}?", "answers": ["yes"]} for n in range(12)]
LORA: dict[str, Any] = {"method": "lora", "learning_rate": 2e-2, "batch_tokens": 200, "lora": {"rank": 2}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that recipes may name files in."""
    folder = tmp_path.resolve() / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    (folder / "broken.jsonl").write_text('{"id": "1", "query": "Why?", "answers": ["so"]}\n{"id": "2"}\n')
    (tmp_path / "secret.jsonl").write_text("")
    return folder


@pytest.fixture
async def parts(
    make_parts: Make, data: Path, base: BaseModelInfo, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Parts]:
    """A service whose workers find the tiny base model, too."""
    monkeypatch.setenv("RAGTUNE_BASE_MODEL", str(base.folder))
    monkeypatch.setenv("RAGTUNE_TRAINING_ROOTS", str(data))
    made = make_parts(training_roots=(data,))
    yield made
    await made.workers.close()


def recipe(name: str, **fields: object) -> dict[str, Any]:
    return {"name": name, **LORA, **fields}


async def train(
    client: httpx.AsyncClient, written: dict[str, Any], wait: bool = False, **fields: object
) -> httpx.Response:
    body = {"recipe": written, **fields}
    return await client.post("/v1/training", params={"wait": wait}, json=body, timeout=100)


async def test_examples_that_are_sent_along_become_an_adapter_that_the_next_request_has(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    answer = await train(client, recipe("sent-along"), wait=True, examples=EXAMPLES, alias="prod")
    assert answer.status_code == 200, answer.text
    job = Job.model_validate(answer.json())
    assert (job.state, job.author) == ("succeeded", "local")
    assert job.result == {"version": "sent-along@1", "alias": "sent-along@prod"}
    asked = await client.post("/v1/query", json={"query": "1 + 1?", "mode": "sent-along@prod", "max_tokens": 2})
    assert asked.json()["resolved_mode"] == "sent-along@1"
    record = (await client.get("/v1/adapters/sent-along@prod")).json()["manifest"]["training"]
    assert (record["examples"], record["recipe"]["lora"]) == (11, {"rank": 2})  # one was kept aside
    assert str(parts.settings.home) not in json.dumps(record)

    events = [event.data for event in parts.jobs.events(job.id)]
    steps = [event for event in events if getattr(event, "stage", "") == "training"]
    assert steps[-1].done == steps[-1].total and set(steps[-1].figures) == {
        "loss",
        "tokens_per_second",
        "validation_loss",
    }
    log = await client.get(f"/v1/jobs/{job.id}/log", params={"lines": 3})
    assert log.headers["content-type"].startswith("text/plain") and len(log.text.splitlines()) == 3
    assert "publishing 0 of 1 versions" in log.text
    listed = (await client.get("/v1/training")).json()
    assert listed[0]["id"] == job.id and {each["kind"] for each in listed} == {"training"}


async def test_a_cancelled_training_ends_soon_publishes_nothing_and_is_resumed(
    client: httpx.AsyncClient, parts: Parts, data: Path
) -> None:
    begun = await train(client, recipe("ended", train=str(data / "train.jsonl"), epochs=400))
    assert begun.status_code == 202
    job = Job.model_validate(begun.json())
    again = await train(client, recipe("ended", train=str(data / "train.jsonl")))
    assert again.status_code == 423 and job.id in again.json()["error"]["message"]
    async with asyncio.timeout(60):
        while (progress := parts.jobs.get(job.id).progress) is None or progress.stage != "training":
            await asyncio.sleep(0.05)
    cancelled = await client.post(f"/v1/jobs/{job.id}/cancel", headers={"content-type": "application/json"})
    assert cancelled.status_code == 200
    async with asyncio.timeout(9):  # after ten seconds it would be killed
        assert (await parts.workers.wait(job.id)).state == "cancelled"
    assert "ended" not in parts.adapters.names()
    resumed = await client.post(f"/v1/jobs/{job.id}/resume", headers={"content-type": "application/json"})
    assert (resumed.status_code, resumed.json()["resumes"]) == (202, job.id)
    assert (await parts.workers.wait(resumed.json()["id"])).state == "succeeded"
    assert "ended" in parts.adapters.names()


@pytest.mark.parametrize(
    ("changed", "status", "param", "told"),
    [
        ({"method": "lorra"}, 400, "recipe.method", "did you mean 'lora'"),
        ({"epoch": 1}, 400, "recipe.epoch", "did you mean 'epochs'"),
        ({"lora": {"rnk": 2}}, 400, "recipe.lora.rnk", "did you mean 'rank'"),
        ({"name": "Upper"}, 400, "recipe.name", "not a legal name"),
        ({"epochs": 0}, 400, "recipe.epochs", "greater than 0"),
        ({"train": []}, 400, "recipe.train", "at least 1"),
        ({"train": "train.jsonl"}, 400, "recipe.train", "must be absolute"),
        ({"name": "an-alias"}, 400, "adapter", "is an alias for the mode"),
        ({"train": "../secret.jsonl"}, 403, "recipe.train", "RAGTUNE_TRAINING_ROOTS"),
        ({"validation": "/etc/passwd"}, 403, "recipe.validation", "RAGTUNE_TRAINING_ROOTS"),
        ({"heldout": ["/etc/passwd"]}, 403, "recipe.heldout", "RAGTUNE_TRAINING_ROOTS"),
        ({"index": "handbok"}, 404, "recipe.index", "did you mean 'handbook'"),
        ({"template": "breif"}, 404, "recipe.template", "did you mean 'brief'"),
        ({"method": "qlora", "lora": None}, 422, "recipe.method", "needs a CUDA GPU"),
        ({"train": "missing.jsonl"}, 422, None, "cannot read examples"),
        ({"train": "broken.jsonl"}, 422, None, "line 2"),
    ],
)
async def test_what_is_wrong_is_told_before_there_is_a_job(
    client: httpx.AsyncClient, parts: Parts, data: Path, changed: dict[str, Any], status: int, param: str, told: str
) -> None:
    ModeAliases(Database(parts.settings.database)).set("an-alias", Mode.parse("my-lora"))
    before = parts.jobs.newest(1)
    written = recipe("refused", train="train.jsonl") | changed
    absolute = "train" not in changed or changed["train"] not in ("train.jsonl", [])
    if absolute:
        written["train"] = str(data / written["train"])
    answer = await train(client, {name: value for name, value in written.items() if value is not None})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), answer.text
    assert told in error["message"]
    assert parts.jobs.newest(1) == before


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"alias": "7"}, "alias"),
        ({"examples": [{"id": "1", "query": "Why?", "answers": []}]}, "examples.0.answers"),
        ({"search": []}, "search"),
        ({"search": [1e-4, -1]}, "search.1"),
        ({"exampels": []}, "exampels"),
        ({"examples": EXAMPLES}, "examples"),  # the recipe has files already
    ],
)
async def test_what_is_wrong_beside_the_recipe_is_told_too(
    client: httpx.AsyncClient, data: Path, fields: dict[str, Any], param: str
) -> None:
    answer = await train(client, recipe("refused", train=str(data / "train.jsonl")), **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


async def test_a_key_with_a_tenant_trains_nothing_and_who_tried_is_written_down(
    make_parts: Make, call: Call, tmp_path: Path
) -> None:
    database = Database(tmp_path / "keys.db")
    _, key = Keys(database).create("acme", ["train"], "acme")
    parts = dataclasses.replace(make_parts(gate=Gate(Keys(database), loopback=True)), audit=AuditLog(database))
    async with call(parts) as client:
        client.headers["authorization"] = f"Bearer {key}"
        refused = await train(client, recipe("theirs"), examples=EXAMPLES)
    assert refused.status_code == 403 and "'acme'" in refused.json()["error"]["message"]
    (entry,) = AuditLog(database).newest(9)
    assert (entry.who, entry.tenant, entry.path, entry.status) == ("acme", "acme", "/v1/training", 403)


async def test_a_commands_training_is_resumed_over_http_only_with_data_inside_the_roots(
    client: httpx.AsyncClient, parts: Parts, tmp_path: Path
) -> None:
    spec = TrainingSpec(recipe=recipe("local", train="secret.jsonl"), folder=str(tmp_path))
    with pytest.raises(ValueError), parts.jobs.run("training", "adapter:local", spec.model_dump(mode="json")) as run:
        raise ValueError
    refused = await client.post(f"/v1/jobs/{run.job.id}/resume", headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "recipe.train")


async def test_search_takes_the_methods_usual_rates_or_those_that_are_named(
    client: httpx.AsyncClient, parts: Parts, data: Path
) -> None:
    for search, rates in ((True, [1e-4, 5e-4, 2e-3]), ([0.1, 0.2], [0.1, 0.2]), (False, [])):
        begun = await train(client, recipe("searched", train=str(data / "train.jsonl")), search=search)
        assert begun.json()["spec"]["search"] == rates
        await client.post(f"/v1/jobs/{begun.json()['id']}/cancel", headers={"content-type": "application/json"})
        await parts.workers.wait(begun.json()["id"])


async def test_sent_examples_are_kept_while_their_training_may_be_resumed_and_not_for_ever(parts: Parts) -> None:
    first = await keep(parts, [Example(id="1", query="Why?", answers=("so",))])
    jobs: Jobs = parts.jobs
    spec = TrainingSpec(recipe=recipe("kept", train=first)).model_dump(mode="json")
    with pytest.raises(ValueError), jobs.run("training", "adapter:kept", spec) as failed:
        raise ValueError
    second = await keep(parts, [Example(id="2", query="Why?", answers=("so",))])
    folder = sent_examples(parts.settings)
    for name in (first, second):
        os.utime(folder / name, (0, 0))  # nobody sends them just now
    jobs.queue("training", "adapter:kept", spec, resumes=failed.job.id).lock.release()
    await keep(parts, [Example(id="3", query="Why?", answers=("so",))])
    assert (folder / first).exists() and not (folder / second).exists()


@pytest.mark.parametrize(
    ("examples", "param", "told"),
    [
        ([EXAMPLES[0], EXAMPLES[0]], "examples", "number 1 has the id '0' of another one"),
        ([{"id": "1", "query": "q", "answers": []}], "examples.0.answers", "at least 1 item"),
    ],
)
async def test_examples_that_are_no_good_are_refused_by_their_place_and_name_no_file_of_the_server(
    client: httpx.AsyncClient, examples: list[dict[str, Any]], param: str, told: str
) -> None:
    answer = await train(client, recipe("sent-badly"), examples=examples)
    error = answer.json()["error"]
    assert answer.status_code == 400 and param in str(error["param"]) and told in error["message"], error
    assert "/" not in error["message"]
