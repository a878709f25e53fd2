"""What the OpenAPI document says beyond the code: refusals with examples, and nothing that cannot happen."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from ragtune.errors import (
    AlreadyRunning,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFault,
    Forbidden,
    IncompatibleParts,
    Overloaded,
    RagtuneError,
    StorageFull,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownName,
)
from ragtune.wire import ErrorEnvelope
from service.errors import envelope

Responses = dict[int | str, dict[str, Any]]

_REFUSALS: dict[int, tuple[str, RagtuneError]] = {
    400: (
        "The request is malformed, asks for a known field that is not supported, or does not fit the window.",
        ContextLengthExceeded(
            "this model's window is 4096 tokens; 5012 were asked for: 4500 in the prompt, 512 to generate",
            param="messages",
        ),
    ),
    401: ("No API key, or one that is wrong or revoked.", Unauthorized("this API key is unknown, wrong or revoked")),
    403: (
        "A key without the scope, a foreign Host or Origin, a path outside the allowed roots, or a hub that is off.",
        Forbidden("requests from other web pages are not accepted"),
    ),
    404: (
        "A name nobody knows, with near matches.",
        UnknownName("unknown adapter or mode 'suport-lora'; did you mean 'support-lora'?", param="model"),
    ),
    413: ("The body, or what it unpacks to, is too large.", TooLarge("the body is larger than 8 MiB")),
    422: (
        "Parts that do not fit together, a change that does not fit what there is, or an artefact that is refused.",
        IncompatibleParts("a mode takes one weight adapter at most, a-lora and b-lora are two", param="model"),
    ),
    423: (
        "The same is being done already.",
        AlreadyRunning("index 'handbook' is being built; ask again when it is done"),
    ),
    429: (
        "The queue is full; Retry-After says when to try again.",
        Overloaded("320 requests are running or waiting; try again shortly"),
    ),
    500: (
        "A fault of the server; its cause is in the log under the request id.",
        EngineFault("the engine failed on this request; the cause is in the server's log under the request id"),
    ),
    503: ("Starting, draining, or an index that cannot be read.", Unavailable("the service is shutting down")),
    504: ("The deadline passed before the first byte.", DeadlineExceeded("not done within its deadline of 120 s")),
    507: ("The disk is full; nothing half-written stays.", StorageFull("there is no space left for the index")),
}
ALWAYS = (403, 500, 503)
NAMED = (400, 404)
POSTED = (400, 413)
GENERATING = (400, 404, 413, 422, 429, 504)


def refusals(*statuses: int) -> Responses:
    """The `responses` of a route that may refuse with these statuses."""
    return {status: _refusal(*_REFUSALS[status]) for status in statuses}


def streamed(what: str, chunk: type[BaseModel]) -> Responses:
    """The 200 of a route that answers with JSON or, with `stream: true`, with server-sent events."""
    description = f"{what}; with `stream: true` events whose data is a {chunk.__name__} each, and at last [DONE]."
    stream = {
        "itemSchema": {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]},
        "example": 'data: {"choices": [...]}\n\ndata: [DONE]\n\n',
    }
    return {200: {"description": description, "content": {"text/event-stream": stream}}}


def events(what: str, example: str) -> Responses:
    """The 200 of a route that answers with server-sent events only."""
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
        "required": ["data"],
    }
    return {200: {"description": what, "content": {"text/event-stream": {"itemSchema": schema, "example": example}}}}


def describe(app: FastAPI, chunk: type[BaseModel]) -> None:
    """Make the document on demand, with the `chunk` of streams that no route returns as such.

    FastAPI's own 422 is left out: a malformed request is a 400 here.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            for operations in made["paths"].values():
                for operation in operations.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
            for unused in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(unused, None)
            schema = chunk.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
            made["components"]["schemas"] |= {chunk.__name__: schema, **schema.pop("$defs")}
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _refusal(description: str, error: RagtuneError) -> dict[str, Any]:
    example = envelope(error).model_dump()
    return {
        "model": ErrorEnvelope,
        "description": description,
        "content": {"application/json": {"example": example}},
    }
