"""The command root as a user meets it: exit codes, near matches, and the template commands on a real home."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragtune.cli import main

BRIEF = 'system = "Be brief."\n'


class Shell:
    """Runs `ragtune` in this process on one home, as the console script would."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAGTUNE_HOME", str(home))
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._monkeypatch.setattr(sys, "argv", ["ragtune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture
def ragtune(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path / "home", capsys, monkeypatch)


@pytest.fixture
def brief(tmp_path: Path) -> str:
    file = tmp_path / "brief.toml"
    file.write_text(BRIEF, encoding="utf-8")
    return str(file)


def test_a_misspelt_command_is_misuse_and_told_which_is_near(ragtune: Shell) -> None:
    code, out, err = ragtune("templat")
    assert (code, out) == (2, "")
    assert "unknown command 'templat'; did you mean 'template'?" in err


def test_a_wrong_option_is_misuse(ragtune: Shell) -> None:
    assert ragtune("template", "list", "--jason")[0] == 2


def test_the_version_is_printed(ragtune: Shell) -> None:
    code, out, _ = ragtune("--version")
    assert code == 0
    assert out.startswith("ragtune, version ")


def test_a_template_is_added_listed_and_shown(ragtune: Shell, brief: str) -> None:
    assert ragtune("template", "add", "brief", brief) == (0, "", "template brief@1, use it as prompt:brief\n")
    assert "brief" in ragtune("template", "list")[1]
    assert ragtune("template", "show", "brief") == (0, BRIEF, "")


def test_a_script_reads_json(ragtune: Shell, brief: str) -> None:
    added = json.loads(ragtune("template", "add", "brief", brief, "--json")[1])
    assert (added["name"], added["version"]) == ("brief", 1)
    assert json.loads(ragtune("template", "list", "--json")[1]) == [added]
    shown = json.loads(ragtune("template", "show", "brief@1", "--json")[1])
    assert shown["system"] == "Be brief."
    assert shown["sha256"] == added["sha256"]


def test_a_home_without_templates_says_how_to_add_one(ragtune: Shell) -> None:
    code, out, err = ragtune("template", "list")
    assert (code, out) == (0, "")
    assert "ragtune template add NAME FILE" in err
    assert json.loads(ragtune("template", "list", "--json")[1]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("template", "show", "brif"), "error: unknown template 'brif'; did you mean 'brief'?\n"),
        (("template", "show", "brief@2"), "error: unknown version of template 'brief': '2'; known: 1\n"),
        (("template", "add", "rag", "FILE"), "error: template 'rag' is a reserved word of the mode language\n"),
        (("template", "add", "x", "/nowhere.toml"), "error: cannot read template /nowhere.toml: "),
        (("template", "add", "x", "/\x1b[2Jx"), "error: cannot read template /\\x1b[2Jx: "),
    ],
)
def test_what_fails_exits_with_1_and_one_line_that_explains(
    ragtune: Shell, brief: str, arguments: tuple[str, ...], message: str
) -> None:
    ragtune("template", "add", "brief", brief)
    code, out, err = ragtune(*(brief if argument == "FILE" else argument for argument in arguments))
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_misspelt_variable_stops_every_command(ragtune: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGTUNE_PORTT", "1")
    assert ragtune("template", "list") == (1, "", "error: unknown setting 'portt'; did you mean 'port'?\n")


def test_an_interrupted_command_ends_with_130(tmp_path: Path) -> None:
    """`template add` reads from a pipe that nobody writes to, until it is interrupted."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", "from ragtune.cli import main; main()", "template", "add", "brief", str(pipe)]
    environ = {**os.environ, "RAGTUNE_HOME": str(tmp_path)}
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, env=environ) as run,
        pipe.open("w"),  # opens when the command has opened its end
    ):
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert err.decode().strip() == "interrupted"
