"""A whole service as a process of its own, on a home that outlives it: for tests that kill it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from ragtune.home import live

_START = 120.0  # seconds


@contextmanager
def killable_service(folder: Path, **settings: Path | str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A service on `folder`/home with the base model in `folder`/tiny and these `settings`, ready: its URL and process.

    Whatever is left of it is killed at the end. What it writes goes to `folder`/log.
    """
    set_to = {"HOME": folder / "home", "BASE_MODEL": folder / "tiny", "THREADS": "1", **settings}
    environment = os.environ | {f"RAGTUNE_{name.upper()}": str(value) for name, value in set_to.items()}
    command = [sys.executable, "-P", "-m", "ragtune", "serve", "--port", "0"]
    with (folder / "log").open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            yield ready(folder / "home", process), process
        finally:
            process.kill()
            process.wait(60)


def ready(home: Path, process: "subprocess.Popen[bytes]") -> str:
    """Its URL, once it takes requests."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server did not start"
        with suppress(httpx.TransportError):
            if (server := live(home)) and httpx.get(f"{server.url}/readyz").status_code == httpx.codes.OK:
                return server.url
        time.sleep(0.05)
    raise TimeoutError("the server did not become ready")
