"""/v1/templates: list, show, publish."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from ragtune.errors import InvalidRequest
from ragtune.mode import Ref
from ragtune.templates import TemplateManifest
from service.access import author, needs
from service.bodies import TOML, content_type
from service.documented import NAMED, POSTED, refusals
from service.parts import Parts
from service.routes.described import Described, Name

_TEMPLATE = 'system = "Answer in a few words."\n'


class FromToml(BaseModel):
    """A template's TOML text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"toml": _TEMPLATE}]})

    toml: str


_TOML_OR_JSON = {
    "required": True,
    "content": {
        "application/toml": {"schema": {"type": "string"}, "example": _TEMPLATE},
        "application/json": {"schema": FromToml.model_json_schema()},
    },
}


def router(parts: Parts) -> APIRouter:
    """/v1/templates."""
    routes = APIRouter(prefix="/v1/templates", tags=["templates"])

    @routes.get("", dependencies=[needs("query")])
    async def templates_list() -> list[Described[TemplateManifest]]:
        """The current version of every template."""
        return [Described.of(version) for version in parts.templates.versions.current()]

    @routes.put(
        "/{name}",
        dependencies=[needs("adapters:write")],
        openapi_extra={"requestBody": _TOML_OR_JSON},
        responses=refusals(*POSTED, 422, 507),
    )
    async def templates_put(name: Name, request: Request) -> Described[TemplateManifest]:
        """Publish a template as the next version of `name`: its TOML as it is, or as `toml` in a JSON object."""
        toml = await _toml(request)
        return Described.of(await asyncio.to_thread(parts.templates.add, name, toml, author(request)))

    @routes.get("/{name}", dependencies=[needs("query")], responses=refusals(*NAMED))
    async def templates_get(name: Name) -> Described[TemplateManifest]:
        """The version `name` or `name@version` means."""
        return Described.of(parts.templates.get(Ref.parse(name, "template"), param="name"))

    return routes


async def _toml(request: Request) -> str:
    body = await request.body()
    try:
        if content_type(request.scope) == TOML:
            return body.decode()
        return FromToml.model_validate_json(body).toml
    except UnicodeDecodeError as error:
        raise InvalidRequest("the template is not UTF-8 text") from error
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
