"""Calling a running service from the command line: which one, and its errors as ours."""

import httpx

from ragtune.errors import RagtuneError, Unavailable
from ragtune.home import live_server
from ragtune.settings import Settings
from ragtune.wire import ErrorEnvelope

_TIMEOUT = 300.0  # seconds: beyond the service's own deadline


def service_url(settings: Settings, given: str | None = None) -> str:
    """The URL `given`, else of the server that lives on the home, else where one would listen by default."""
    return given or live_server(settings.home) or f"http://{settings.host}:{settings.port}"


def call(method: str, target: str, path: str, body: dict[str, object] | None = None) -> object:
    """The JSON answer of the service at `target`; absent values are left out of the body.

    Raises Unavailable if no service answers, and RagtuneError with its message if it refuses.
    """
    content = None if body is None else {key: value for key, value in body.items() if value is not None}
    try:
        response = httpx.request(method, target + path, json=content, timeout=_TIMEOUT)
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
