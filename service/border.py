"""The outermost ASGI layer: request ids, the Host and Origin check, the body limit, draining, one log line a request.

A page on the web can make a browser send requests to a server on this machine. It cannot forge the Host it was loaded
from (DNS rebinding changes where a name leads, not the name) nor hide its Origin, so those two are checked.
"""

import json
import logging
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragtune.errors import Forbidden, InvalidRequest, RagtuneError, TooLarge, Unavailable
from ragtune.wire import Answer
from service.access import HEALTH
from service.bodies import JSON, Allowance, content_type, has_body
from service.errors import refuse
from service.parts import Lifecycle

log = logging.getLogger("ragtune.access")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


@dataclass
class Note:
    """What a route adds to its log line; never prompt text."""

    fields: dict[str, object] = field(default_factory=dict)


async def whole_characters(request: Request) -> None:
    """A dependency of every route. Raises InvalidRequest for JSON text with half of a surrogate pair.

    Python reads it, and nothing after that can encode it.
    """
    if content_type(request.scope) != JSON:  # TOML says it itself, and an archive is read by its route, never at once
        return
    body = await request.body()
    if not _SURROGATE.search(body):
        return
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("the body has text with half of a surrogate pair (\\ud800 to \\udfff)") from error


def request_id(request: Request) -> str:
    """What the client is told, and the log says."""
    return str(request.scope["ragtune.request_id"])


def note(request: Request, **fields: object) -> None:
    """Add to this request's log line."""
    request.scope["ragtune.note"].fields.update(fields)


def note_answers(request: Request, answers: list[Answer]) -> None:
    """The log line of a generating route: modes, counts and times, no text."""
    note(
        request,
        mode=[a.resolved_mode for a in answers] if len(answers) > 1 else answers[0].resolved_mode,
        prompt_tokens=sum(a.usage.prompt_tokens for a in answers),
        completion_tokens=sum(a.usage.completion_tokens for a in answers),
        cached_tokens=sum(a.usage.cached_tokens for a in answers),
        first_token_ms=answers[0].timings.first_token_ms,
    )


class Border:
    """Wraps the whole application."""

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str], lifecycle: Lifecycle, max_upload: int, max_document: int
    ) -> None:
        self._app = app
        self._hosts = hosts | _LOCAL
        self._any_host = "*" in hosts
        self._lifecycle = lifecycle
        self._max_upload = max_upload
        self._max_document = max_document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if _SANE_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
        scope["ragtune.request_id"], scope["ragtune.note"] = name, Note()
        status, started = 500, time.monotonic()

        async def outgoing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = name
            await send(message)

        try:
            allowance = Allowance.of(scope, self._max_upload, self._max_document)
            if refusal := self._refusal(scope, headers, allowance):
                await refuse(refusal)(scope, receive, outgoing)
            else:
                self._lifecycle.running += 1
                try:
                    await self._app(scope, _limited(receive, allowance), outgoing)
                finally:
                    self._lifecycle.running -= 1
        finally:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = {"time": now, "request_id": name, "method": scope["method"], "path": scope["path"]}
            line |= {"status": status, "ms": round(1e3 * (time.monotonic() - started), 1)}
            line |= scope["ragtune.note"].fields
            log.log(logging.DEBUG if scope["path"] in HEALTH else logging.INFO, json.dumps(line))

    def _refusal(self, scope: Scope, headers: Headers, allowance: Allowance) -> RagtuneError | None:
        if not self._any_host and _host(headers.get("host", "")) not in self._hosts:
            return Forbidden("this Host is not served here; add it to RAGTUNE_ALLOWED_HOSTS if it should be")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            if not self._same_site(headers):
                return Forbidden("requests from other web pages are not accepted")
            length = headers.get("content-length", "0")
            if length.isdecimal() and int(length) > allowance.most:
                return TooLarge(allowance.too_large)
            # A page may post without asking first, as a form, as plain text, or with no type at all: also no body.
            typed = scope["method"] == "POST" or has_body(scope)
            if typed and allowance.kinds is not None and content_type(scope) not in allowance.kinds:
                sent = "the body" if has_body(scope) else "it, even without a body,"
                return InvalidRequest(f"send {sent} with Content-Type: {' or '.join(allowance.kinds)}")
        if self._lifecycle.draining and scope["path"] not in HEALTH:
            return Unavailable("the service is shutting down")
        return None

    def _same_site(self, headers: Headers) -> bool:
        if self._any_host:
            return True
        origin = headers.get("origin")
        if headers.get("sec-fetch-site") == "cross-site":
            return False
        return origin is None or _host(origin.partition("://")[2]) in self._hosts


def _host(authority: str) -> str:
    """The host of `host:port`, in lower case; empty if there is none to be read."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:  # half an IPv6 address
        return ""


def _limited(receive: Receive, allowance: Allowance) -> Receive:
    """Bodies without a Content-Length are counted as they come."""
    taken = 0

    async def counting() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > allowance.most:
            # FastAPI lets only this exception through while it reads a body
            raise HTTPException(413, allowance.too_large)
        return message

    return counting
