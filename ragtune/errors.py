"""Every error a user can meet, in one tree.

    RagtuneError                     500 internal_error
    ├── InvalidRequest               400 invalid_request
    │   └── ContextLengthExceeded    400 context_length_exceeded
    ├── Unauthorized                 401 unauthorized
    ├── Forbidden                    403 forbidden
    ├── UnknownName                  404 unknown_name
    ├── TooLarge                     413 too_large
    ├── IncompatibleParts            422 incompatible_parts
    ├── RefusedArtifact              422 refused_artifact
    ├── AlreadyRunning               423 already_running
    ├── Overloaded                   429 overloaded
    ├── EngineFault                  500 engine_error
    ├── Unavailable                  503 unavailable
    │   └── Interrupted              503 interrupted
    ├── DeadlineExceeded             504 deadline_exceeded
    └── StorageFull                  507 storage_full

The HTTP handler, the engine loop and the command line are the only places that catch these. Each class carries the
HTTP status, the OpenAI error `type` and the machine-readable `code`; the message says what to do about it.

`Cancelled` stands beside the tree: it is no error, and passes through whatever catches errors.
"""

import difflib
from collections.abc import Iterable


class RagtuneError(Exception):
    """Base of the tree. `param` names the request field at fault, if one is."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(RagtuneError):
    """The request is malformed, or asks for a known field that is not supported."""

    status, type, code = 400, "invalid_request_error", "invalid_request"


class ContextLengthExceeded(InvalidRequest):
    """Prompt plus requested tokens do not fit the model's window; both numbers are in the message."""

    code = "context_length_exceeded"


class Unauthorized(RagtuneError):
    """No API key, or one that is unknown, wrong or revoked."""

    status, type, code = 401, "authentication_error", "unauthorized"


class Forbidden(RagtuneError):
    """The caller may not do this: a key without the scope, a foreign Host or Origin, a path outside allowed roots."""

    status, type, code = 403, "permission_error", "forbidden"


class UnknownName(RagtuneError):
    """A name nobody knows; the message lists near matches."""

    status, type, code = 404, "not_found_error", "unknown_name"

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], *, param: str | None = None) -> "UnknownName":
        """`UnknownName` for `name` of this `kind`, naming up to three of the `known` names that are near."""
        candidates = sorted(set(known))
        near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(repr(match) for match in near) + "?"
        elif candidates:
            hint = "known: " + ", ".join(candidates[:8]) + (" ..." if len(candidates) > 8 else "")
        else:
            hint = f"no {kind.removesuffix(':')} is registered yet"
        return cls(f"unknown {kind} {name!r}; {hint}", param=param)


class TooLarge(RagtuneError):
    """A body, file or archive over its limit."""

    status, type, code = 413, "invalid_request_error", "too_large"


class IncompatibleParts(RagtuneError):
    """What is named exists and does not fit: parts of a mode each other or the base model, a change what points there.

    Not 409, which OpenAI's clients try again.
    """

    status, type, code = 422, "invalid_request_error", "incompatible_parts"


class RefusedArtifact(RagtuneError):
    """A broken or unacceptable adapter, document, template or recipe; the message gives the reason."""

    status, type, code = 422, "invalid_request_error", "refused_artifact"


class AlreadyRunning(RagtuneError):
    """Another process is already doing this to the same resource."""

    status, type, code = 423, "conflict_error", "already_running"


class Overloaded(RagtuneError):
    """The queue is full; decided at admission, so it is answered at once."""

    status, type, code = 429, "overloaded_error", "overloaded"


class EngineFault(RagtuneError):
    """The engine failed. The text outside is fixed; the cause is in the log under the request id."""

    status, type, code = 500, "server_error", "engine_error"


class Unavailable(RagtuneError):
    """Starting, draining, or the knowledge that was asked for cannot be had."""

    status, type, code = 503, "unavailable_error", "unavailable"


class Interrupted(Unavailable):
    """A job ended before it was done, and not by an error of its own: its process is gone, or it was cancelled."""

    code = "interrupted"


class DeadlineExceeded(RagtuneError):
    """The request's deadline passed before it was done."""

    status, type, code = 504, "server_error", "deadline_exceeded"


class StorageFull(RagtuneError):
    """The disk is full; nothing half-written stays."""

    status, type, code = 507, "server_error", "storage_full"


class Cancelled(BaseException):
    """Somebody asked for the job at hand to be cancelled; raised where it may stop.

    No `Exception`, like asyncio's: what reports a broken document and goes on must not go on with this one.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def by_code(code: str, message: str) -> RagtuneError:
    """The error another process told of, as the same class of the tree; RagtuneError for a code nobody knows."""
    pending: list[type[RagtuneError]] = [RagtuneError]
    while pending:
        found = pending.pop()
        if found.code == code:
            return found(message)
        pending += found.__subclasses__()
    return RagtuneError(message)
