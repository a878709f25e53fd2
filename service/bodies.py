"""What a request's body may be, by where it goes: its types and its size."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

JSON = "application/json"
TOML = "application/toml"
ARCHIVES = ("application/zip", "application/x-tar", "application/gzip")
MOST_BODY = 8 * 1024 * 1024
_ADAPTER = re.compile(r"/v1/adapters/[^/]+")
_DOCUMENT = re.compile(r"/v1/indexes/[^/]+/documents/.+", re.DOTALL)


def content_type(scope: Scope) -> str:
    """The type the body is sent with, in lower case and without parameters; empty if none is given."""
    return Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()


def has_body(scope: Scope) -> bool:
    """Whether a body is announced; HTTP/1.1 knows two ways (RFC 9112, 6.3)."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def is_document(scope: Scope) -> bool:
    """Whether the body is a document. Its name says what it is, so it may come with any type, or none."""
    return bool(scope["method"] == "PUT" and _DOCUMENT.fullmatch(scope["path"]))


def is_upload(scope: Scope) -> bool:
    """Whether the body is an archive with an adapter. Like a document it is never held in memory as a whole."""
    return bool(scope["method"] == "PUT" and content_type(scope) in ARCHIVES and _ADAPTER.fullmatch(scope["path"]))


@dataclass(frozen=True)
class Allowance:
    """The types a body may have here (None: any), its most bytes, and what one that has more is told."""

    kinds: tuple[str, ...] | None
    most: int
    too_large: str

    @classmethod
    def of(cls, scope: Scope, max_upload: int, max_document: int) -> "Allowance":
        """That of a request."""
        if is_document(scope):
            told = f"the document is larger than {max_document} bytes; RAGTUNE_MAX_DOCUMENT sets this limit"
            return cls(None, max_document, told)
        if is_upload(scope):
            told = f"the archive is larger than {max_upload} bytes; RAGTUNE_MAX_UPLOAD sets this limit"
            return cls(ARCHIVES, max_upload, told)
        more: tuple[str, ...] = ()
        if scope["path"].startswith("/v1/templates/"):
            more = (TOML,)
        elif scope["method"] == "PUT" and _ADAPTER.fullmatch(scope["path"]):
            more = ARCHIVES
        return cls((JSON, *more), MOST_BODY, f"the body is larger than {MOST_BODY >> 20} MiB")
