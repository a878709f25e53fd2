"""/v1/indexes/{name}/documents: upload, list, show, delete."""

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from indexer.deleting import delete_document
from indexer.documents import Document, Metadata, Problem
from indexer.stored_documents import Change, Put, StoredDocument
from indexer.uploading import Upload, check_id, store_uploads, text_upload
from ragtune.errors import Forbidden, InvalidRequest, UnknownName
from ragtune.mode import check_name
from service.access import author, needs, tenant
from service.documented import NAMED, refusals
from service.parts import Parts
from service.routes.described import Name
from service.uploads import received_file

_ACCEPTED = 202
Id = Annotated[str, PathParameter(description="the document's id, such as manuals/pump.pdf", examples=["pump.md"])]
OfTenant = Annotated[str | None, Query(alias="tenant", description="whose, for keys without a tenant")]
Wait = Annotated[bool, Query(description="answer when what was uploaded is findable in a published version")]


class ShownDocument(BaseModel):
    """A document of an index, without its text. `revision` counts up with every change of any document."""

    id: str
    tenant: str
    title: str
    source: str = Field(description="the file it was read from, or `upload:` and the name of the upload")
    revision: int
    characters: int
    sha256: str = Field(description="of its text")
    metadata: Metadata
    added: str
    author: str

    @classmethod
    def of(cls, document: StoredDocument) -> "ShownDocument":
        """From the store."""
        fields = {name: getattr(document, name) for name in cls.model_fields if name != "sha256"}
        return cls(**fields, sha256=document.text_sha256)


class Page(BaseModel):
    """Documents in order of id; `after` is what to ask for the next ones with, absent at the end."""

    documents: list[ShownDocument]
    after: str | None = None


class NewDocument(BaseModel):
    """A document as text."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1)
    title: str = ""
    text: str = Field(min_length=1)
    markdown: bool = Field(default=False, description="whether headings, tables and code in it count")
    metadata: Metadata = {}


class NewDocuments(BaseModel):
    """Documents as texts, all of them stored or none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"documents": [{"id": "pump", "title": "Pump 2", "text": "The warranty is 24 months."}]}]
        },
    )

    documents: list[NewDocument] = Field(min_length=1, max_length=1000)


class Uploaded(BaseModel):
    """What an upload changed. `version` is the one its passages are in; absent where nobody waited for it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"changes": {"pump.md": "added"}, "problems": [], "version": "handbook@4"}]}
    )

    changes: dict[str, Change]
    problems: list[Problem] = Field(description="records of the file that could not be read")
    version: str | None = None


class DeletedDocument(BaseModel):
    """A document that no search shows any more."""

    id: str
    tenant: str


_BEGUN: dict[int | str, dict[str, Any]] = {
    _ACCEPTED: {"description": "Stored; a build is under way, or comes next.", "model": Uploaded}
}


def router(parts: Parts) -> APIRouter:
    """/v1/indexes/{name}/documents."""
    routes = APIRouter(prefix="/v1/indexes/{name}/documents", tags=["documents"])

    @routes.get("", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def documents_list(
        name: Name,
        request: Request,
        after: Annotated[str | None, Query(description="as the last page said")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="documents at most")] = 100,
    ) -> Page:
        """The documents the next version of an index is built from: of a key with a tenant, its own and the shared."""
        check_name(name, "index")
        own = tenant(request)
        tenants = {own, ""} if own else None
        found = await asyncio.to_thread(parts.indexes.documents.page, name, tenants, _after(after), limit + 1)
        if not found and after is None:
            _check_there(name, parts)
        page = [ShownDocument.of(document) for document in found[:limit]]
        return Page(documents=page, after=_next(page) if len(found) > limit else None)

    @routes.post("", dependencies=[needs("index:write")], responses=refusals(*NAMED, 413, 422, 423, 507) | _BEGUN)
    async def documents_post(
        name: Name, body: NewDocuments, request: Request, response: Response, wait: Wait = False
    ) -> Uploaded:
        """Add or replace documents given as texts. The index is made if there is none of this name."""
        check_name(name, "index")
        for document in body.documents:
            check_id(document.id)
        if len({document.id for document in body.documents}) < len(body.documents):
            raise InvalidRequest("two of the documents have the same id", param="documents")
        uploads = [text_upload(Document(d.id, d.title, d.text, d.markdown, d.metadata)) for d in body.documents]
        stored = await _store(name, request, uploads, parts)
        return await _answer(stored, name, request, response, wait, parts)

    @routes.put(
        "/{id:path}",
        dependencies=[needs("index:write")],
        openapi_extra={"requestBody": _FILE},
        responses=refusals(*NAMED, 413, 422, 423, 507) | _BEGUN,
    )
    async def documents_put(
        name: Name,
        id: Id,  # noqa: A002
        request: Request,
        response: Response,
        wait: Wait = False,
        title: Annotated[str | None, Query(max_length=1000, description="instead of the file's own")] = None,
        metadata: Annotated[str | None, Query(description='as JSON: {"lang": "en"}')] = None,
    ) -> Uploaded:
        """Add or replace a document, the body being the file; how its name ends says of which format it is.

        Records of a .jsonl or .csv file become documents with ids of their own.
        """
        check_name(name, "index")
        given = _metadata(metadata)
        upload = await received_file(request, id, title, given, parts)
        stored = await _store(name, request, [upload], parts)
        return await _answer(stored, name, request, response, wait, parts)

    @routes.get("/{id:path}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def documents_get(
        name: Name,
        id: Id,  # noqa: A002
        request: Request,
        of_tenant: OfTenant = None,
    ) -> ShownDocument:
        """One document: of a key with a tenant its own, or else the shared one."""
        check_name(name, "index")
        owner = _owner(request, of_tenant)
        try:
            found = await asyncio.to_thread(parts.indexes.documents.get, name, owner, id)
        except UnknownName:
            if not tenant(request):
                raise
            found = await asyncio.to_thread(parts.indexes.documents.get, name, "", id)
        return ShownDocument.of(found)

    @routes.delete("/{id:path}", dependencies=[needs("index:write")], responses=refusals(*NAMED, 507))
    async def documents_delete(
        name: Name,
        id: Id,  # noqa: A002
        request: Request,
        of_tenant: OfTenant = None,
    ) -> DeletedDocument:
        """Delete a document: from the very next search on no version shows it, and no rollback brings it back."""
        check_name(name, "index")
        owner = _owner(request, of_tenant)
        await asyncio.to_thread(delete_document, parts.indexes, name, owner, id)
        return DeletedDocument(id=id, tenant=owner)

    return routes


_FILE: dict[str, Any] = {
    "required": True,
    "description": "The file itself.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "# Pump"}},
}


async def _store(name: str, request: Request, uploads: list[Upload], parts: Parts) -> Put:
    whose = name, tenant(request), author(request)
    return await asyncio.to_thread(store_uploads, parts.indexes.documents, *whose, uploads)


async def _answer(stored: Put, name: str, request: Request, response: Response, wait: bool, parts: Parts) -> Uploaded:
    who = author(request), tenant(request)
    if not wait:
        parts.rebuilding.later(name, *who)
        response.status_code = _ACCEPTED
        return Uploaded(changes=stored.changes, problems=stored.problems)
    job = await parts.rebuilding.soon(name, *who)
    version = str((job.result or {})["version"])
    return Uploaded(changes=stored.changes, problems=stored.problems, version=version)


def _owner(request: Request, asked: str | None) -> str:
    own = tenant(request)
    if own and asked not in (None, own):
        raise Forbidden(f"this key is of the tenant {own!r}", param="tenant")
    return own or asked or ""


def _check_there(name: str, parts: Parts) -> None:
    """Raises UnknownName for an index that has neither documents nor versions."""
    if name not in parts.indexes.documents.indexes():
        parts.indexes.versions.of(name, param="name")


def _metadata(given: str | None) -> Metadata:
    if given is None:
        return {}
    try:
        return NewDocument.model_validate({"id": "x", "text": "x", "metadata": json.loads(given)}).metadata
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            "metadata must be a JSON object of texts, numbers and booleans", param="metadata"
        ) from error


def _after(cursor: str | None) -> tuple[str, str] | None:
    if cursor is None:
        return None
    owner, separator, last = cursor.partition("/")
    if not separator:
        raise InvalidRequest("after must be what the last page said", param="after")
    return owner, last


def _next(page: list[ShownDocument]) -> str:
    return f"{page[-1].tenant}/{page[-1].id}"
