"""From exceptions to answers: one handler for the tree, one for what FastAPI itself refuses."""

import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ragtune.errors import EngineFault, InvalidRequest, RagtuneError
from ragtune.wire import ErrorBody, ErrorEnvelope
from service.disconnect import ClientGone

log = logging.getLogger("ragtune.http")
_MODEL = dict.fromkeys(("mode", "adapter", "index", "template"), "model")  # what OpenAI's routes call it
_MODEL["passages"] = "ragtune.passages"
_PARAMS = {
    **dict.fromkeys(("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"), _MODEL),
    "/v1/query": {"messages": "query"},
    "/v1/compare": {"messages": "query", "mode": "modes"},
}
_HEADERS = {  # by status; seconds after which to try again, and how to say who one is
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "5"},
}
_LONGEST = 1000  # characters of a message


def envelope(error: RagtuneError) -> ErrorEnvelope:
    """The answer's body; an internal error says nothing of its cause."""
    message = error.message if error.code != "internal_error" else "internal error; the cause is in the server's log"
    if len(message) > _LONGEST:
        message = message[:_LONGEST] + " ..."
    return ErrorEnvelope(error=ErrorBody(message=message, type=error.type, param=error.param, code=error.code))


def refuse(error: RagtuneError) -> Response:
    """The whole answer for an error of the tree."""
    return JSONResponse(envelope(error).model_dump(), error.status, _HEADERS.get(error.status))


def as_event(request: Request, error: Exception) -> ErrorEnvelope:
    """What a stream says of an error that comes too late for a status; the cause of an unknown one is logged."""
    if not isinstance(error, RagtuneError):
        _log_cause(request, error)
        error = EngineFault("internal error; the cause is in the server's log under the request id")
    return envelope(error)


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(RagtuneError)
    async def known(request: Request, error: RagtuneError) -> Response:
        if error.code == RagtuneError.code or (error.status >= 500 and error.__cause__ is not None):
            _log_cause(request, error)
        error.param = _PARAMS.get(request.url.path, {}).get(error.param or "", error.param)
        return refuse(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return refuse(validation_error(error))

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
        code = {404: "unknown_route", 405: "method_not_allowed", 413: "too_large"}.get(
            error.status_code, "invalid_request"
        )
        message = str(error.detail)
        if code in ("unknown_route", "method_not_allowed"):
            message = f"{message}: no {request.method} {request.url.path[:200]} here; see /openapi.json"
        body = ErrorEnvelope(error=ErrorBody(message=message, type=kind, code=code))
        return JSONResponse(body.model_dump(), error.status_code, error.headers)

    @app.exception_handler(ClientGone)
    async def gone(_request: Request, _error: ClientGone) -> Response:
        return Response(status_code=499)  # nobody hears it; it is the log's word for "client closed request"

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        _log_cause(request, error)
        fault = EngineFault("internal error; the cause is in the server's log under the request id")
        headers = {"X-Request-ID": str(request.scope.get("ragtune.request_id", ""))}  # the border is behind us here
        return JSONResponse(envelope(fault).model_dump(), 500, headers)


def _log_cause(request: Request, error: Exception) -> None:
    log.error("request %s failed", request.scope.get("ragtune.request_id"), exc_info=error)


def validation_error(error: RequestValidationError) -> InvalidRequest:
    """The first problem in words, with the field's path as `param`."""
    problems = error.errors()  # a misspelt field goes before the one that is missing because of it
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    if first["type"] == "json_invalid":
        return InvalidRequest(f"the body is not valid JSON: {first['ctx']['error']}")
    # Of a field that may be of several types, the problem deepest inside it says most.
    beside = [problem for problem in problems if problem["loc"][:2] == first["loc"][:2]]
    first = max(beside, key=lambda problem: _telling(problem, error.body))
    place = ".".join(_place(first, error.body))[:_LONGEST]
    reason = "unknown field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return InvalidRequest(f"{place}: {reason}" if place else reason, param=place or None)


def _telling(problem: dict[str, Any], body: Any) -> tuple[int, bool, bool]:
    return len(_place(problem, body)), problem["type"] in ("too_long", "too_short"), problem["type"] != "string_type"


def _place(problem: dict[str, Any], body: Any) -> list[str]:
    """The keys that lead to the problem in what was sent, without the names of types that were tried on the way."""
    path = list(problem["loc"])
    if path[:1] != ["body"]:
        return [str(part) for part in path]
    place: list[str] = []
    for at, part in enumerate(path[1:], start=2):
        if isinstance(body, list):
            known = isinstance(part, int) and part < len(body)
        else:
            known = isinstance(body, dict) and part in body
        if known:
            body = body[part]
        elif at < len(path) or problem["type"] != "missing":
            continue
        place.append(str(part))
    return place
