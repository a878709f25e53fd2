"""`ragtune query` and `ragtune compare` against a running service, and what they say when there is none."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from eval.asking import Asked
from eval.client import connect
from ragtune.errors import RagtuneError, RefusedArtifact, Unavailable
from ragtune.home import announce
from ragtune.keys import Keys
from ragtune.remote import Target, call, target
from ragtune.settings import Settings
from ragtune.store import Database
from service.access import Gate
from service.cli import compare, query, serve
from service.doctor import doctor
from tests.api.conftest import Make, Serve


@pytest.fixture
def runner(tmp_path: Path) -> CliRunner:
    return CliRunner(env={"RAGTUNE_HOME": str(tmp_path), "RAGTUNE_PORT": "9", "NO_COLOR": "1"})


@dataclass(frozen=True)
class Keyed:
    """A service that asks for a key, and a `key` that will do; `serve` starts it at `port`, knowing a token."""

    settings: Settings
    key: str
    port: int
    serve: Callable[[str | None], AbstractAsyncContextManager[str]]


@pytest.fixture
def keyed(serve: Serve, make_parts: Make, tmp_path: Path) -> Keyed:
    keys = Keys(Database(tmp_path / "keys.db"))
    _, key = keys.create("asker", ["query"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Keyed(
        Settings(home=tmp_path),
        key,
        port,
        lambda token: serve(make_parts(gate=Gate(keys, loopback=True, token=token)), port),
    )


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


async def test_commands_on_the_home_of_a_service_that_asks_for_keys_need_none(
    runner: CliRunner, keyed: Keyed, tmp_path: Path
) -> None:
    with announce(tmp_path, f"http://127.0.0.1:{keyed.port}") as token:
        async with keyed.serve(token) as url:
            for arguments in ((), ("--url", f"{url}/")):
                assert "Why?" in (await run(runner, query, "Why?", *arguments)).stdout
            with pytest.raises(RagtuneError, match="unknown adapter 'gone'"):
                await asyncio.to_thread(call, "DELETE", target(keyed.settings, url), "/v1/adapters/gone")


async def test_a_service_elsewhere_is_shown_the_key_of_the_settings(runner: CliRunner, keyed: Keyed) -> None:
    async with keyed.serve("a token nobody here knows") as url:
        with pytest.raises(RagtuneError, match=r"needs an API key.*RAGTUNE_API_KEY"):
            await run(runner, query, "Why?", "--url", url)
        runner.env["RAGTUNE_API_KEY"] = keyed.key
        assert "Why?" in (await run(runner, query, "Why?", "--url", url)).stdout
        runner.env["RAGTUNE_API_KEY"] = keyed.key[:-1]
        with pytest.raises(RagtuneError, match="unknown, wrong or revoked"):
            await run(runner, query, "Why?", "--url", url)


async def test_the_evaluator_shows_its_key_to_the_service(keyed: Keyed) -> None:
    async with keyed.serve(None) as url:
        async with connect(Target(url, keyed.key), timeout=10, concurrency=1) as service:
            assert (await service.describe()).models
            assert (await service.ask(Asked("base", "Why?", 16))).reply is not None
        async with connect(Target(url), timeout=10, concurrency=1) as service:
            with pytest.raises(RefusedArtifact, match=r"refuses /v1/models: HTTP 401: .*needs an API key"):
                await service.describe()


async def test_without_a_service_it_says_how_to_start_one(runner: CliRunner) -> None:
    with pytest.raises(Unavailable, match=r"no service answers at http://127.0.0.1:9 .*ragtune serve"):
        await run(runner, query, "Why?")


@pytest.mark.parametrize("command", [serve, query, compare, doctor])
def test_every_command_explains_itself_with_an_example(runner: CliRunner, command: click.Command) -> None:
    result = runner.invoke(command, ["--help"])
    assert result.exit_code == 0
    assert f"Example:  ragtune {command.name}" in result.stdout
