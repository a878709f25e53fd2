"""Calling a running service from the command line: which one, with which key, and its errors as ours."""

import httpx

from ragtune.errors import RagtuneError, Unavailable
from ragtune.home import live_server, live_token
from ragtune.settings import Settings
from ragtune.wire import ErrorEnvelope

_TIMEOUT = 300.0  # seconds: beyond the service's own deadline


def service_url(settings: Settings, given: str | None = None) -> str:
    """The URL `given`, else of the server that lives on the home, else where one would listen by default."""
    return (given or live_server(settings.home) or f"http://{settings.host}:{settings.port}").rstrip("/")


def service_key(settings: Settings, url: str) -> str | None:
    """What to show the service at `url`: the token of the server that lives on the home if it is that one, as it gives
    every right; else the key of the settings, if there is one."""
    if url == live_server(settings.home) and (token := live_token(settings.home)):
        return token
    return settings.api_key.get_secret_value() if settings.api_key else None


def authorization(key: str | None) -> dict[str, str]:
    """The header that shows `key`; none without one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def call(method: str, target: str, path: str, body: dict[str, object] | None = None, *, key: str | None) -> object:
    """The JSON answer of the service at `target`; absent values are left out of the body.

    Raises Unavailable if no service answers, and RagtuneError with its message if it refuses.
    """
    content = None if body is None else {name: value for name, value in body.items() if value is not None}
    try:
        response = httpx.request(method, target + path, json=content, headers=authorization(key), timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"no service answers at {target} ({error}); start one with 'ragtune serve'") from error
    if response.is_error:
        raise RagtuneError(_reason(response))
    return response.json()


def _reason(response: httpx.Response) -> str:
    try:
        return ErrorEnvelope.model_validate_json(response.content).error.message
    except ValueError:
        return f"HTTP {response.status_code}"
