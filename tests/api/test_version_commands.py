"""`ragtune adapter` and `ragtune mode`, without a server on the home and beside one."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from adapters.base_model import BaseModelInfo
from adapters.cli import adapter
from adapters.registry import Adapters
from indexer.cli import index
from indexer.store import Indexes
from ragtune.errors import IncompatibleParts, InvalidRequest, RagtuneError, UnknownName
from ragtune.home import announce
from ragtune.pinned import Pinned
from ragtune.settings import Settings
from ragtune.store import Database
from service.cli import query
from service.mode_cli import mode
from service.parts import Parts
from tests.fakes import LetterEmbedder
from tests.small_index import build_index


@pytest.fixture
def home(tmp_path: Path, base: BaseModelInfo, peft_folders: Path) -> Iterator[Path]:
    """A home with two versions of an adapter."""
    settings = Settings(home=tmp_path / "home")
    database = Database(settings.database)
    for folder in ("my-lora", "other-lora"):
        Adapters(settings.home, database, base, None).add("own", peft_folders / folder)
    yield settings.home
    database.close()


@pytest.fixture
def runner(home: Path, base: BaseModelInfo) -> CliRunner:
    environ = {"RAGTUNE_HOME": str(home), "RAGTUNE_BASE_MODEL": str(base.folder), "NO_COLOR": "1", "USER": "ada"}
    return CliRunner(env=environ | {"LOGNAME": "ada", "RAGTUNE_CACHE": str(home / "cache")})


def run(runner: CliRunner, command: click.Command, *arguments: str) -> Result:
    """Errors of ours are raised, as the root command sees them."""
    result = runner.invoke(command, arguments)
    if isinstance(result.exception, RagtuneError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def listed(runner: CliRunner) -> dict[str, tuple[bool, list[str]]]:
    found = json.loads(run(runner, adapter, "list", "--json").stdout)
    return {version["version"]: (version["current"], version["aliases"]) for version in found}


def test_an_alias_is_set_by_number_by_name_and_by_another_alias(runner: CliRunner) -> None:
    assert run(runner, adapter, "alias", "own@1", "prod").stderr == "own@prod now means own@1\n"
    run(runner, adapter, "alias", "own", "newest")
    run(runner, adapter, "alias", "own@prod", "canary")
    assert listed(runner) == {"own@1": (False, ["canary", "prod"]), "own@2": (True, ["newest"])}
    assert "canary, prod" in run(runner, adapter, "list").stdout
    run(runner, adapter, "alias", "own@newest", "prod")
    assert json.loads(run(runner, adapter, "rollback", "own", "--alias", "prod", "--json").stdout)["version"] == "own@1"
    assert run(runner, adapter, "alias", "own", "prod", "--remove").stderr == "removed own@prod, which meant own@1\n"


def test_an_alias_is_taken_away_from_the_name_and_not_from_a_version(runner: CliRunner) -> None:
    run(runner, adapter, "alias", "own@1", "prod")
    result = runner.invoke(adapter, ["alias", "own@2", "prod", "--remove"])
    assert result.exit_code == 2 and "ragtune adapter alias own prod --remove" in result.stderr
    assert listed(runner)["own@1"] == (False, ["prod"])


def test_the_current_version_goes_back(runner: CliRunner) -> None:
    assert run(runner, adapter, "rollback", "own").stderr == "own now means own@1\n"
    assert listed(runner) == {"own@1": (True, []), "own@2": (False, [])}
    with pytest.raises(IncompatibleParts, match="nothing to go back to"):
        run(runner, adapter, "rollback", "own")


def test_one_version_or_all_of_them_are_removed(runner: CliRunner, home: Path) -> None:
    with pytest.raises(IncompatibleParts, match="own@2 is what own means"):
        run(runner, adapter, "remove", "own@2", "--yes")
    run(runner, mode, "alias", "best", "own@1")
    with pytest.raises(IncompatibleParts, match="best means own@1"):
        run(runner, adapter, "remove", "own@1", "--yes")
    run(runner, mode, "remove", "best")
    assert run(runner, adapter, "remove", "own@1", "--yes").stderr == "deleted own@1\n"
    assert sorted(path.name for path in (home / "store" / "adapter" / "own").iterdir()) == ["2"]
    run(runner, adapter, "remove", "own", "--yes")
    assert listed(runner) == {}


def test_a_mode_alias_is_set_listed_rolled_back_and_removed(runner: CliRunner) -> None:
    assert "ragtune mode alias NAME MODE" in run(runner, mode, "list").stderr
    assert run(runner, mode, "alias", "best", "own@1").stderr == "best now means own@1\n"
    run(runner, mode, "alias", "best", "own")
    (shown,) = json.loads(run(runner, mode, "list", "--json").stdout)
    assert (shown["alias"], shown["mode"], shown["author"]) == ("best", "own", "ada")
    assert "best" in run(runner, mode, "list").stdout
    assert json.loads(run(runner, mode, "rollback", "best", "--json").stdout)["mode"] == "own@1"
    assert run(runner, mode, "remove", "best").stderr == "removed best, which meant own@1\n"
    with pytest.raises(UnknownName):
        run(runner, mode, "remove", "best")


def test_a_mode_alias_that_cannot_be_is_refused(runner: CliRunner) -> None:
    for arguments, error in ((("best", "onw"), UnknownName), (("own", "base"), InvalidRequest)):
        with pytest.raises(error):
            run(runner, mode, "alias", *arguments)


async def test_beside_a_server_modes_are_looked_at_and_things_in_use_deleted_by_it(
    url: str, settings: Settings, database: Database, base: BaseModelInfo, peft_folders: Path, documents: Path
) -> None:
    """The commands and the server have one home; the server needs no announcement of its own."""
    runner = CliRunner(env={"RAGTUNE_HOME": str(settings.home), "RAGTUNE_BASE_MODEL": "/nowhere"})

    async def beside(command: click.Command, *arguments: str) -> Result:
        return await asyncio.to_thread(run, runner, command, *arguments)

    adapters = Adapters(settings.home, database, base, None)
    for folder in ("my-lora", "other-lora"):
        version = adapters.add("beside", peft_folders / folder)
    index_version = build_index(documents, "besides", Indexes(settings.home, database), LetterEmbedder()).version
    with announce(settings.home, url):
        await beside(mode, "alias", "best", "beside@1")
        with pytest.raises(RagtuneError, match="did you mean 'beside'"):
            await beside(mode, "alias", "best", "besid")
        await beside(mode, "alias", "best", "beside+rag:handbook")
        assert "beside@2+rag:handbook@1" in (await beside(query, "Why?", "--mode", "best")).stdout
        assert (await beside(mode, "rollback", "best")).stderr == "best now means beside@1\n"
        await beside(adapter, "rollback", "beside")
        assert "beside@1" in (await beside(query, "Why?", "--mode", "beside")).stdout
        await beside(mode, "remove", "best")
        with pytest.raises(RagtuneError, match="beside@1 is what beside means"):
            await beside(adapter, "remove", "beside@1", "--yes")
        await beside(adapter, "remove", "beside", "--yes")
        assert not version.folder.exists()
        await beside(index, "delete", "besides", "--yes")
        assert not index_version.folder.exists()


async def test_beside_a_server_a_pinned_name_is_followed_to_what_a_command_publishes_and_let_go_with_its_name(
    url: str, parts: Parts, settings: Settings, base: BaseModelInfo, peft_folders: Path, tmp_path: Path
) -> None:
    environ = {"RAGTUNE_HOME": str(settings.home), "RAGTUNE_BASE_MODEL": str(base.folder)}
    runner = CliRunner(env=environ | {"RAGTUNE_CACHE": str(tmp_path)})

    async def beside(*arguments: str) -> Result:
        return await asyncio.to_thread(run, runner, adapter, *arguments)

    async def pinned() -> tuple[str, ...]:
        return (await parts.engine.stats()).pinned

    with announce(settings.home, url):
        await beside("add", "stays", str(peft_folders / "my-lora"))
        assert await pinned() == ()
        await beside("pin", "stays")
        (first,) = await pinned()
        await beside("add", "stays", str(peft_folders / "other-lora"))
        (second,) = await pinned()
        assert first != second
        await beside("remove", "stays", "--yes")
        assert await pinned() == ()
        assert "stays" not in parts.adapters.pinned.names()
        await beside("add", "stays", str(peft_folders / "my-lora"))
        assert await pinned() == ()
        await beside("remove", "stays", "--yes")


def test_a_pin_the_server_cannot_follow_is_said_and_the_version_is_published_all_the_same(
    runner: CliRunner, home: Path, peft_folders: Path
) -> None:
    run(runner, adapter, "pin", "own")
    with announce(home, "http://127.0.0.1:9"):
        result = run(runner, adapter, "add", "own", str(peft_folders / "my-soft"))
    assert "published own@3" in result.stdout
    assert "still has the former version of own pinned: no service answers" in result.stderr
    run(runner, adapter, "remove", "own", "--yes")
    assert Pinned(Database(home / "ragtune.db"), "adapter").names() == []


@pytest.mark.parametrize("command", [*adapter.commands.values(), *mode.commands.values()])
def test_every_command_explains_itself(runner: CliRunner, command: click.Command) -> None:
    assert "Example:  ragtune" in run(runner, command, "--help").stdout or command.name in ("list", "remove")
