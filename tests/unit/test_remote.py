"""Which service a command calls, what it shows it, and that no proxy comes to see the key of one on this machine."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr

from eval.client import connect
from ragtune.errors import Forbidden, RagtuneError, Unavailable
from ragtune.home import announce
from ragtune.remote import Target, ask_server, call, target
from ragtune.settings import Settings

ELSEWHERE = "http://ragtune.inside.example"
NOBODY = 65534


class Recorder(BaseHTTPRequestHandler):
    """Answers everything with `{}`, and keeps who asked for what: each server by its own port."""

    asked: ClassVar[list[tuple[int, str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.server.server_address[1], self.path, self.headers["authorization"]))  # type: ignore[index]
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def recording() -> Iterator[int]:
    """A server; gives its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def service() -> Iterator[int]:
    Recorder.asked.clear()
    with recording() as port:
        yield port


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What HTTP_PROXY names."""
    with recording() as port:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        yield port


@contextmanager
def as_another_user(home: Path) -> Iterator[None]:
    """As somebody who may not read what is in `home`."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        (home / "server.json").chmod(0)
        yield


def keyed(home: Path) -> Settings:
    return Settings(home=home, port=9, api_key=SecretStr("rt-K-mine"))


def test_the_service_of_the_home_is_shown_its_token_and_any_other_one_the_key_of_the_settings(tmp_path: Path) -> None:
    settings = keyed(tmp_path)
    assert target(settings) == Target("http://127.0.0.1:9", "rt-K-mine", near=True)
    with announce(tmp_path, "http://10.0.0.7:8000") as token:
        own = Target("http://10.0.0.7:8000", token, near=True)
        assert target(settings) == target(settings, "http://10.0.0.7:8000/") == own
        assert target(settings, ELSEWHERE) == Target(ELSEWHERE, "rt-K-mine", near=False)
    assert "rt-K-mine" not in repr(target(settings))


def test_another_users_service_on_the_home_is_in_the_way_only_of_those_who_name_none(tmp_path: Path) -> None:
    settings = keyed(tmp_path)
    with announce(tmp_path, "http://127.0.0.1:8"), as_another_user(tmp_path):
        for given in (ELSEWHERE, "http://127.0.0.1:8"):
            assert target(settings, given).key == "rt-K-mine"
        for failing in (lambda: target(settings), lambda: ask_server(settings, "GET", "/")):
            with pytest.raises(Forbidden, match="another user; name it with --url"):
                failing()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_service_on_this_machine_is_called_past_any_proxy(
    service: int, proxy: int, tmp_path: Path, host: str
) -> None:
    found = target(keyed(tmp_path), f"http://{host}:{service}")
    assert call("GET", found, "/v1/models") == {}
    with announce(tmp_path, f"http://127.0.0.1:{service}") as token:
        assert ask_server(keyed(tmp_path), "DELETE", "/v1/adapters/x") == {}
    assert Recorder.asked == [
        (service, "/v1/models", "Bearer rt-K-mine"),
        (service, "/v1/adapters/x", f"Bearer {token}"),
    ]


def test_a_service_elsewhere_is_called_as_the_environment_says(service: int, proxy: int, tmp_path: Path) -> None:
    call("GET", target(keyed(tmp_path), ELSEWHERE), "/v1/models")
    assert Recorder.asked == [(proxy, f"{ELSEWHERE}/v1/models", "Bearer rt-K-mine")]


async def test_the_evaluator_goes_past_the_proxy_too(service: int, proxy: int, tmp_path: Path) -> None:
    found = target(keyed(tmp_path), f"http://127.0.0.1:{service}")
    async with connect(found, timeout=5, concurrency=1) as asked:
        await asked.ready()
    assert Recorder.asked == [(service, "/readyz", "Bearer rt-K-mine")]


def test_where_no_server_lives_the_work_is_the_callers(tmp_path: Path) -> None:
    assert ask_server(keyed(tmp_path), "DELETE", "/v1/adapters/x") is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no url", "http://[::1", "ftp://127.0.0.1"])
def test_what_is_no_service_is_said_to_be_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unavailable, match="no service answers at"):
        call("GET", target(keyed(tmp_path), url), "/")


def test_a_refusal_has_the_words_of_the_service_or_its_status(service: int, tmp_path: Path) -> None:
    with pytest.raises(RagtuneError, match="HTTP 501"):
        call("PUT", target(keyed(tmp_path), f"http://127.0.0.1:{service}"), "/")
