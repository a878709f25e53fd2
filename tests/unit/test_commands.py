"""Ragtune's own commands and the stages made of them: nothing is done twice, and nothing outlives the caller.

The program here is a small script in the place of `ragtune`: it answers /readyz when it serves, says what it was asked
when it runs, and fails when told to.
"""

import http.server
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragtune.commands import Commands
from ragtune.errors import DeadlineExceeded, RagtuneError, Unavailable
from ragtune.home import announce
from ragtune.stages import Stages, fingerprint, print_bill

PROGRAM = """
import http.server, os, subprocess, sys, time
from pathlib import Path
from ragtune.home import announce

if sys.argv[1] == "fail":
    print("the reason", file=sys.stderr)
    sys.exit(3)
if sys.argv[1] == "hang":
    Path(os.environ["RAGTUNE_HOME"], "pids").write_text(str(os.getpid()))
    time.sleep(60)
if sys.argv[1] != "serve":
    print(*sys.argv[1:], os.environ["RAGTUNE_HOME"])
    sys.exit()
if os.environ.get("BROKEN"):
    print("error: no model")
    sys.exit(1)
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
Path(os.environ["RAGTUNE_HOME"], "pids").write_text(f"{os.getpid()} {engine.pid}")

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Ready)
with announce(Path(os.environ["RAGTUNE_HOME"]), f"http://127.0.0.1:{server.server_port}"):
    server.serve_forever()
"""
SERVE_AND_WAIT = """
import os, signal, sys, time
from pathlib import Path
from ragtune.commands import Commands
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with Commands(os.environ, [sys.executable, sys.argv[1]]).serve(Path(sys.argv[2])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return file


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "RAGTUNE_HOME": str(tmp_path)}


@pytest.fixture
def commands(program: Path, environ: dict[str, str]) -> Commands:
    return Commands(environ, [sys.executable, str(program)])


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "pids"


def alive(pids: Path) -> list[bool]:
    """Of the server and of the engine it started: whether each still runs (a zombie does not)."""
    return [Path(f"/proc/{pid}/cmdline").exists() and _command(pid) != b"" for pid in pids.read_text().split()]


def all_gone(pids: Path) -> bool:
    """Whether both are gone, or go within the moment a killed process takes to die."""
    until = time.monotonic() + 5
    while any(alive(pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(alive(pids))


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_command_prints_where_we_print(commands: Commands, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    commands.run("index", "build")
    assert capfd.readouterr().out == f"index build {tmp_path}\n"


def test_a_command_prints_to_stderr_where_stdout_is_kept_for_json(
    program: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import os, sys; from ragtune.commands import Commands;"
        f"Commands(os.environ, [sys.executable, {str(program)!r}], results_to_stderr=True).run('index')"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", f"index {tmp_path}\n")


def test_a_command_that_fails_is_named_and_its_own_words_are_shown(
    commands: Commands, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RagtuneError, match="`ragtune fail now` failed with exit code 3"):
        commands.run("fail", "now")
    assert capfd.readouterr().err == "the reason\n"


def test_a_command_that_takes_longer_than_it_may_is_ended(commands: Commands, pids: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="`ragtune hang` was not done after 2 s and was ended"):
        commands.run("hang", limit=2)
    assert all_gone(pids)


def test_a_server_answers_while_the_context_is_open_and_leaves_no_process(
    commands: Commands, tmp_path: Path, pids: Path
) -> None:
    with commands.serve(tmp_path / "log") as url:
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        assert alive(pids) == [True, True]
    assert all_gone(pids)


def test_a_stage_that_fails_beside_the_server_takes_it_down(commands: Commands, tmp_path: Path, pids: Path) -> None:
    with pytest.raises(RagtuneError), commands.serve(tmp_path / "log"):
        commands.run("fail")
    assert all_gone(pids)


def test_a_server_that_does_not_start_shows_the_end_of_its_log(
    program: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    commands = Commands({**environ, "BROKEN": "1"}, [sys.executable, str(program)])
    with pytest.raises(Unavailable, match="error: no model"), commands.serve(tmp_path / "log"):
        pass


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_process(
    program: Path, environ: dict[str, str], tmp_path: Path, pids: Path, how: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", SERVE_AND_WAIT, str(program), str(tmp_path / "log")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith(b"http://")
        demo.send_signal(how)
        assert demo.wait(30) == code
    assert all_gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_server_ends_with_a_caller_that_is_killed(
    program: Path, environ: dict[str, str], tmp_path: Path, pids: Path
) -> None:
    command = [sys.executable, "-c", SERVE_AND_WAIT, str(program), str(tmp_path / "log")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline().startswith(b"http://")
        caller.kill()
    engine = int(pids.read_text().split()[1])  # this server leaves its own child to whoever started it
    os.kill(engine, signal.SIGKILL)
    assert all_gone(pids)


def test_a_strangers_server_on_the_home_is_not_taken_for_ours(
    program: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    mute = Commands({**environ, "RAGTUNE_HOME": str(tmp_path)}, [sys.executable, "-c", "import time; time.sleep(1)"])
    with (
        server,
        announce(tmp_path, f"http://127.0.0.1:{server.server_port}"),
        pytest.raises(Unavailable, match="ended with exit code 0 while starting"),
        mute.serve(tmp_path / "log"),
    ):
        pass


class Work:
    """A stage's work that counts how often it was done."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> str:
        self.done += 1
        return f"result@{self.done}"


def run(file: Path, inputs: str, work: Work, *, still_there: bool = True) -> str:
    return Stages(file, total=1).run("index", inputs, lambda _: still_there, work)


def test_a_stage_is_done_once_per_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    assert run(tmp_path / "demo.json", "a", work) == "result@1"
    assert run(tmp_path / "demo.json", "a", work) == "result@1"
    assert "result@1 is up to date (it took 0.0 s)" in capsys.readouterr().err
    assert run(tmp_path / "demo.json", "b", work) == "result@2"


def test_a_stage_whose_result_is_gone_is_done_again(tmp_path: Path) -> None:
    work = Work()
    run(tmp_path / "demo.json", "a", work)
    assert run(tmp_path / "demo.json", "a", work, still_there=False) == "result@2"


def test_a_stage_that_failed_is_done_again(tmp_path: Path) -> None:
    def fail() -> str:
        raise RagtuneError("no")

    with pytest.raises(RagtuneError):
        Stages(tmp_path / "demo.json", total=1).run("index", "a", lambda _: True, fail)
    assert run(tmp_path / "demo.json", "a", Work()) == "result@1"


def test_the_time_before_an_interruption_counts_as_spent_and_as_the_stages_own(tmp_path: Path) -> None:
    def interrupted() -> str:
        time.sleep(0.2)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Stages(tmp_path / "demo.json", total=1).run("train", "a", lambda _: True, interrupted)
    stages = Stages(tmp_path / "demo.json", total=1)
    stages.run("train", "a", lambda _: True, Work())
    assert stages.spent >= 0.4 and stages.bill["train"].seconds >= stages.bill["train"].before >= 0.4
    again = Stages(tmp_path / "demo.json", total=1)
    again.run("train", "a", lambda _: True, Work())
    assert 0.4 <= again.spent < 0.8
    other = Stages(tmp_path / "demo.json", total=1)
    other.run("train", "b", lambda _: True, Work())
    assert other.bill["train"].before == 0 and other.spent < 0.4


def test_the_bill_counts_only_what_was_done_this_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "demo.json", "a", Work())
    stages = Stages(tmp_path / "demo.json", total=2)
    stages.run("index", "a", lambda _: True, Work())
    stages.run("train", "a", lambda _: True, Work())
    print_bill(stages.bill)
    out = capsys.readouterr().out
    assert "an earlier time" in out
    assert [done.again for done in stages.bill.values()] == [True, False]


def test_a_record_of_another_form_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"stages": [1]}')
    assert run(tmp_path / "demo.json", "a", Work()) == "result@1"


def test_a_fingerprint_sees_content_and_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "one" / "deep").mkdir(parents=True)
    (tmp_path / "one" / "deep" / "a.md").write_text("a")
    before = fingerprint(tmp_path / "one", "text")
    (tmp_path / "one").rename(tmp_path / "two")
    assert fingerprint(tmp_path / "two", "text") == before
    (tmp_path / "two" / "deep" / "a.md").rename(tmp_path / "two" / "deep" / "b.md")
    assert fingerprint(tmp_path / "two", "text") != before
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
