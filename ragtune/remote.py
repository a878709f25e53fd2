"""Calling a running service from the command line: which one, with which key, and its errors as ours."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from ragtune.errors import Forbidden, RagtuneError, Unavailable
from ragtune.home import LiveServer, live
from ragtune.settings import Settings
from ragtune.wire import ErrorEnvelope

_TIMEOUT = 300.0  # seconds: beyond the service's own deadline


@dataclass(frozen=True)
class Target:
    """A service: where it is, and what to show it, if anything.

    One on this machine is `near`: it is called directly, whatever HTTP_PROXY says, so that no proxy sees the key.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    near: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The header that shows the key; none without one."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def target(settings: Settings, given: str | None = None) -> Target:
    """The service at the URL `given`, else the one that lives on the home, else where one would listen by default.

    That of the home is shown its token, which gives every right; any other one the key of the settings. Raises
    Forbidden if none is given and the one that lives on the home is another user's.
    """
    own = _own(settings, given)
    url = (given or (own.url if own else f"http://{settings.host}:{settings.port}")).rstrip("/")
    if own is not None and url == own.url:
        return _near(own)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return Target(url, key, near=is_loopback(url))


def call(method: str, service: Target, path: str, body: dict[str, object] | None = None) -> object:
    """The JSON answer of a service; absent values are left out of the body.

    Raises Unavailable if no service answers, and RagtuneError with its message if it refuses.
    """
    content = None if body is None else {name: value for name, value in body.items() if value is not None}
    try:
        with httpx.Client(trust_env=not service.near, timeout=_TIMEOUT) as client:
            response = client.request(method, service.url + path, json=content, headers=service.headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"no service answers at {service.url} ({error}); start one with 'ragtune serve'") from error
    if response.is_error:
        raise RagtuneError(_reason(response))
    return response.json()


def ask_server(settings: Settings, method: str, path: str, body: dict[str, object] | None = None) -> object | None:
    """What the server that lives on the home answers; None if there is none, and the work is left to the caller.

    Raises what `call` raises, and Forbidden if the server is another user's.
    """
    own = live(settings.home)
    return None if own is None else call(method, _near(own), path, body)


def _own(settings: Settings, given: str | None) -> LiveServer | None:
    try:
        return live(settings.home)
    except Forbidden:
        if given is None:
            raise
        return None  # whoever names a service does not mean that one


def _near(own: LiveServer) -> Target:
    return Target(own.url, own.token, near=True)


def is_loopback(url: str) -> bool:
    """Whether the URL is on this machine, so that no proxy belongs before it."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, or no URL at all
        return False


def _reason(response: httpx.Response) -> str:
    try:
        return ErrorEnvelope.model_validate_json(response.content).error.message
    except ValueError:
        return f"HTTP {response.status_code}"
