"""A signal ends a whole service, whatever its threads are at."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.killable import ready
from tests.tiny import save_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_download_that_hangs_keeps_no_service_from_ending(tmp_path: Path) -> None:
    """The hub takes the connection, and never says a word."""
    save_tiny(tmp_path / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as hub:
        environment = os.environ | {
            "RAGTUNE_HOME": str(tmp_path / "home"),
            "RAGTUNE_BASE_MODEL": str(tmp_path / "tiny"),
            "RAGTUNE_HUB_ADAPTERS": "true",
            "RAGTUNE_DRAIN": "1",
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_ETAG_TIMEOUT": "600",
            "HF_HUB_DOWNLOAD_TIMEOUT": "600",
        }
        command = [sys.executable, "-P", "-m", "ragtune", "serve", "--port", "0"]
        process = subprocess.Popen(command, env=environment)
        try:
            url = ready(tmp_path / "home", process)

            def put() -> None:
                with suppress(httpx.HTTPError):
                    httpx.put(f"{url}/v1/adapters/hangs", json={"hub": "someone/support-lora"}, timeout=60)

            putting = threading.Thread(target=put)
            putting.start()
            connection, _ = hub.accept()  # now a thread of the service waits for the hub
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert time.monotonic() - began < 20
            connection.close()
            putting.join()
        finally:
            process.kill()
            process.wait(60)
