"""`ragtune query` and `ragtune compare` against a running service, and what they say when there is none."""

import asyncio
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from ragtune.errors import RagtuneError, Unavailable
from ragtune.home import announce
from service.cli import compare, query, serve
from service.doctor import doctor


@pytest.fixture
def runner(tmp_path: Path) -> CliRunner:
    return CliRunner(env={"RAGTUNE_HOME": str(tmp_path), "RAGTUNE_PORT": "9", "NO_COLOR": "1"})


async def run(runner: CliRunner, command: click.Command, *arguments: str) -> Result:
    """Run a command beside the event loop that serves it; errors of ours are raised as the root command sees them."""
    result = await asyncio.to_thread(runner.invoke, command, arguments)
    if isinstance(result.exception, RagtuneError):
        raise result.exception
    return result


async def test_query_prints_the_answer_and_where_it_comes_from(runner: CliRunner, url: str) -> None:
    result = await run(runner, query, "zzz", "--mode", "rag", "--url", url, "--max-tokens", "400", "--top-k", "1")
    assert result.exit_code == 0
    assert "Question: zzz" in result.stdout
    assert "colours (colours.txt:0-15)" in result.stdout
    assert "rag:handbook@1 · " in result.stdout


async def test_query_as_json_is_the_answer_alone(runner: CliRunner, url: str) -> None:
    result = await run(runner, query, "Why?", "--url", url, "--json")
    assert json.loads(result.stdout)["text"] == "user\nWhy?"


async def test_compare_shows_a_row_a_mode(runner: CliRunner, url: str) -> None:
    result = await run(runner, compare, "Why?", "--mode", "base", "--mode", "my-lora", "--url", url)
    assert "my-lora@1" in result.stdout and result.stdout.count("Why?") == 2
    result = await run(runner, compare, "Why?", "--mode", "base", "--mode", "base", "--url", url, "--json")
    assert len(json.loads(result.stdout)["answers"]) == 2


async def test_the_service_of_this_home_is_found_without_a_url(runner: CliRunner, url: str, tmp_path: Path) -> None:
    with announce(tmp_path, url):
        assert "Why?" in (await run(runner, query, "Why?")).stdout


async def test_what_the_service_refuses_is_said_in_its_words(runner: CliRunner, url: str) -> None:
    with pytest.raises(RagtuneError, match="did you mean 'my-lora'"):
        await run(runner, query, "Why?", "--mode", "my-lroa", "--url", url)


async def test_without_a_service_it_says_how_to_start_one(runner: CliRunner) -> None:
    with pytest.raises(Unavailable, match=r"no service answers at http://127.0.0.1:9 .*ragtune serve"):
        await run(runner, query, "Why?")


@pytest.mark.parametrize("command", [serve, query, compare, doctor])
def test_every_command_explains_itself_with_an_example(runner: CliRunner, command: click.Command) -> None:
    result = runner.invoke(command, ["--help"])
    assert result.exit_code == 0
    assert f"Example:  ragtune {command.name}" in result.stdout
