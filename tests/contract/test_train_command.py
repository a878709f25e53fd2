"""`ragtune train`: its help, what it refuses before there is a job, and what it asks the job for."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from adapters.manifest import RECORD_FILE
from adapters.recipe import METHODS, RATES
from ragtune.audit import AuditLog
from ragtune.errors import InvalidRequest, RagtuneError, RefusedArtifact, UnknownName
from ragtune.jobs import Jobs
from ragtune.store import Database
from service.train_cli import train
from tests.tiny import save_tiny

RECIPE = 'name = "short"\nmethod = "lora"\ntrain = "train.jsonl"\nmax_steps = 2\nbatch_tokens = 200\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe with its data."""
    lines = (f'{{"id": "{n}", "query": "{n} + {n}?", "answers": ["yes"]}}\n' for n in range(12))
    (tmp_path / "train.jsonl").write_text("".join(lines))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    environment = {"RAGTUNE_HOME": str(folder / "home"), "RAGTUNE_CACHE": str(folder / "cache")}
    environment["RAGTUNE_BASE_MODEL"] = str(folder / "tiny")
    result = CliRunner(env=environment).invoke(train, [str(folder / "recipe.toml"), *arguments])
    if isinstance(result.exception, RagtuneError):
        raise result.exception
    return result


def jobs(folder: Path) -> Jobs:
    return Jobs(Database(folder / "home" / "ragtune.db"), folder / "home")


def test_its_help_names_every_method() -> None:
    shown = train.get_help(click.Context(train, info_name="train"))
    assert all(method in shown for method in METHODS)


def test_an_alias_points_to_what_was_published_and_the_job_says_so(folder: Path) -> None:
    save_tiny(folder / "tiny")
    done = run(folder, "--alias", "prod", "--json")
    assert done.exit_code == 0, done.output
    published = json.loads(done.stdout)
    assert (published["version"], published["aliases"]) == ("short@1", ["prod"])
    record = folder / "home" / "store" / "adapter" / "short" / "1" / RECORD_FILE
    assert json.loads(record.read_text())["recipe"]["train"] == [str(folder / "train.jsonl")]
    (job,) = jobs(folder).newest(9)
    assert (job.kind, job.resource, job.state) == ("training", "adapter:short", "succeeded")
    assert job.result == {"version": "short@1", "alias": "short@prod"}
    assert "training short: 2 done" in done.stderr and "training 2 of 2 steps, loss" in done.stderr
    assert [entry.path for entry in AuditLog(Database(folder / "home" / "ragtune.db")).newest(9)] == ["train short@1"]


@pytest.mark.parametrize(
    ("arguments", "rates"), [((), ()), (("--search",), RATES["lora"]), (("--search", "1e-4,2e-3"), (1e-4, 2e-3))]
)
def test_search_asks_for_the_usual_rates_or_those_that_are_named(
    folder: Path, arguments: tuple[str, ...], rates: tuple[float, ...]
) -> None:
    with pytest.raises(RefusedArtifact, match="there is no folder"):  # as there is no base model here
        run(folder, *arguments)
    (job,) = jobs(folder).newest(9)
    assert job.spec["search"] == list(rates)
    assert (job.spec["folder"], job.spec["fresh"]) == (str(folder), False)


@pytest.mark.parametrize("rates", ["recipe.toml", "1e-4,x", "1e-4,-1", "0", "nan", ""])
def test_a_search_over_what_are_no_rates_is_misuse(folder: Path, rates: str) -> None:
    refused = run(folder, "--search", rates)
    assert refused.exit_code == 2 and "are no learning rates" in refused.stderr


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ("", RefusedArtifact, "line 2"),
        ('index = "handbook"\n', UnknownName, "unknown index 'handbook'"),
        ('template = "brief"\n', UnknownName, "unknown template 'brief'"),
        ("epoch = 1\n", RefusedArtifact, "did you mean 'epochs'"),
    ],
)
def test_what_is_wrong_already_is_told_before_there_is_a_job(
    folder: Path, change: str, error: type[RagtuneError], told: str
) -> None:
    (folder / "recipe.toml").write_text(RECIPE + change)
    if not change:
        (folder / "train.jsonl").write_text('{"id": "1", "query": "Why?", "answers": ["so"]}\n{"id": "2"}\n')
    with pytest.raises(error, match=told):
        run(folder)
    assert jobs(folder).newest(9) == []


def test_an_alias_that_is_a_number_is_refused_at_once(folder: Path) -> None:
    with pytest.raises(InvalidRequest, match="not a legal alias"):
        run(folder, "--alias", "7")


def test_check_reads_the_data_and_trains_nothing(folder: Path) -> None:
    save_tiny(folder / "tiny")
    checked = run(folder, "--check")
    assert checked.exit_code == 0 and "11 examples to train on, 1 kept aside" in checked.stderr
    assert jobs(folder).newest(9) == []
