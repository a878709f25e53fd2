"""Reading in a process of its own, for parsers that a damaged file may send round in circles."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from indexer.documents import Document, Problem
from indexer.reading_process import ANSWER, OUT_OF_MEMORY
from ragtune.errors import RefusedArtifact

_GRACE = 5  # seconds after which a process whose starter is gone ends itself


class ReadingProcess:
    """Started when it is first needed, kept for many files, ended and started anew when one exceeds its limits."""

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self._command = (
            *(sys.executable, "-P", "-m", "indexer.reading_process"),
            *(str(int(seconds) + _GRACE), str(memory)),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, file_format: str, path: Path, name: str) -> list[Document | Problem]:
        """What the file holds. Raises RefusedArtifact if reading it takes too long, or kills the process."""
        used = self._process is not None
        answer = self._ask(file_format, path, name)
        if isinstance(answer, str) and used:
            answer = self._ask(file_format, path, name)  # it may have died of what earlier files left behind
        if isinstance(answer, str):
            raise RefusedArtifact(answer)
        return answer

    def _ask(self, file_format: str, path: Path, name: str) -> list[Document | Problem] | str:
        """What the file holds, or why the process died over it."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._seconds, give_up)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps([file_format, str(path), name]).encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except BaseException:
            self.close()  # whatever it is at, nobody waits for it any more
            raise
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return ANSWER.validate_json(line)
        self.close()
        if late.is_set():
            raise RefusedArtifact(f"took longer than {self._seconds:g} seconds to read; split it, or save it anew")
        if process.returncode == OUT_OF_MEMORY:
            return "needs more memory than a file may take; split it"
        return "ended the process that reads it; split it, or save it anew"

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()  # closes the pipes, too

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            # A group of its own, so that Ctrl-C is ours to act on
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
            )
        return self._process
