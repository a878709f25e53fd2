"""Which server is live on a home, also after one has died without a word."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ragtune.errors import AlreadyRunning
from ragtune.home import announce, live

URL = "http://127.0.0.1:8123"
ANNOUNCE_AND_WAIT = """
import sys, time
from pathlib import Path
from ragtune.home import announce
with announce(Path(sys.argv[1]), sys.argv[2]):
    print("announced", flush=True)
    time.sleep(60)
"""


def url_of(home: Path) -> str | None:
    server = live(home)
    return server.url if server else None


def test_a_server_is_live_while_it_is_announced(tmp_path: Path) -> None:
    assert live(tmp_path) is None
    with announce(tmp_path, URL):
        assert url_of(tmp_path) == URL
    assert live(tmp_path) is None


def test_a_home_that_does_not_exist_has_no_server_and_is_made_by_the_first(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    assert live(home) is None
    with announce(home, URL):
        assert url_of(home) == URL


def test_the_token_beside_the_url_is_for_this_user_alone_and_another_one_each_time(tmp_path: Path) -> None:
    (tmp_path / f".server.json.{os.getpid()}").write_text("left by a killed server with our process number")
    tokens = set()
    for _ in range(2):
        with announce(tmp_path, URL) as token:
            assert live(tmp_path) == (URL, token, os.getpid())
            assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600
            tokens.add(token)
        assert live(tmp_path) is None
    assert [len(token) for token in tokens] == [64, 64]


def test_a_second_server_is_refused_and_told_where_the_first_one_is(tmp_path: Path) -> None:
    with (
        announce(tmp_path, URL),
        pytest.raises(AlreadyRunning, match=URL),
        announce(tmp_path, "http://127.0.0.1:9"),
    ):
        pass
    with announce(tmp_path, "http://127.0.0.1:9"):
        assert url_of(tmp_path) == "http://127.0.0.1:9"


def test_the_announcement_of_a_killed_server_counts_for_nothing(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", ANNOUNCE_AND_WAIT, str(tmp_path), URL], stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == "announced\n"
        assert url_of(tmp_path) == URL
        os.kill(server.pid, signal.SIGKILL)
    assert (tmp_path / "server.json").exists()
    assert live(tmp_path) is None
    with announce(tmp_path, "http://127.0.0.1:9"):
        assert url_of(tmp_path) == "http://127.0.0.1:9"
