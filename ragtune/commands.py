"""Running ragtune's own commands, and a server beside them, so that nothing outlives the caller.

Every command runs in a session of its own: an interrupt reaches the caller alone, which then ends what it started and
says so, instead of every process dying at once with words of its own. On Linux the kernel ends them (SIGTERM) when the
caller is killed without a chance to; elsewhere they would go on.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ragtune.errors import DeadlineExceeded, RagtuneError, Unavailable
from ragtune.home import live
from ragtune.terminal import say

RAGTUNE = (sys.executable, "-P", "-m", "ragtune")  # -P: a folder `eval` where the user stands must not be ours
_GRACE = 40.0  # seconds: longer than a server drains by default
_START = 180.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before this machine


@dataclass(frozen=True)
class Commands:
    """How to run `ragtune`: `program` is the words before the arguments, `environ` what it sees."""

    environ: Mapping[str, str]
    program: Sequence[str] = RAGTUNE
    results_to_stderr: bool = False  # where stdout is kept for one JSON document

    def run(self, *arguments: str, results: Path | None = None, limit: float | None = None) -> None:
        """Run one command to its end; its results go into the file `results`, else where ours go.

        Raises RagtuneError if it fails, and DeadlineExceeded if it took longer than `limit` seconds and was ended.
        """
        with ExitStack() as opened:
            stdout = opened.enter_context(results.open("w", encoding="utf-8")) if results else None
            shown = sys.stderr if self.results_to_stderr else None
            process = opened.enter_context(self._started(arguments, stdout=stdout or shown))
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired as error:
                words = f"`ragtune {' '.join(arguments)}`"
                raise DeadlineExceeded(f"{words} was not done after {error.timeout:.0f} s and was ended") from error
        if code != 0:
            raise RagtuneError(f"`ragtune {' '.join(arguments)}` failed with exit code {code}; its output is above")

    @contextmanager
    def serve(self, log: Path) -> Iterator[str]:
        """A server on a free port, ready to answer; yields its URL and stops it at the end.

        Raises Unavailable with the end of its log if it does not become ready.
        """
        with (
            log.open("w", encoding="utf-8") as output,
            self._started(("serve", "--port", "0"), stdout=output, stderr=output) as process,
        ):
            yield _ready_url(Path(self.environ["RAGTUNE_HOME"]), process, log)

    @contextmanager
    def _started(
        self, arguments: Sequence[str], stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> Iterator["subprocess.Popen[bytes]"]:
        process = subprocess.Popen(
            [*self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(self.environ),
            start_new_session=True,
            preexec_fn=_dying_with(os.getpid()),  # nothing of ours runs threads here, which it would not go with
        )
        try:
            yield process
        finally:
            _end(process)


def _dying_with(parent: int) -> Callable[[], None] | None:
    """What a child does before it becomes the command: ask the kernel for SIGTERM when its parent ends. None where no
    kernel does that."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it ended in between
            os._exit(1)

    return tie


def _ready_url(home: Path, process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"the server ended with exit code {process.returncode} while starting:\n{_tail(log)}")
        server = live(home)
        if server and server.pid == process.pid and _answers(f"{server.url}/readyz"):
            return server.url
        time.sleep(0.2)
    raise Unavailable(f"the server was not ready after {_START:.0f} s:\n{_tail(log)}")


def _answers(url: str) -> bool:
    try:
        with _DIRECTLY.open(url, timeout=5):
            return True
    except OSError:  # refused, timed out, or an HTTP status that says not yet
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the process to end, wait, then make sure that nothing of its session is left."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        say(f"process {process.pid} did not end within {_GRACE:.0f} s and is killed")
    finally:  # also when a second interrupt cuts the waiting short
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
