"""/v1/load_lora_adapter and /v1/unload_lora_adapter, for programs written for vLLM, on the same registry as ours.

What vLLM does, by its documentation and source (copies from up to September 2026), and what is done here:

- A load takes `lora_name`, `lora_path` and `load_inplace`; success is a 200 whose body is one sentence, not JSON.
- A name that is loaded already is a 400 unless `load_inplace` is true; then its weights are replaced. Here they become
  the next version, and requests in flight keep theirs.
- A field that is missing or empty is a 400. A path where no adapter lies is a 404, whether the folder is missing or
  only its adapter_config.json. Any other failure to load is a 500 there; here it has the status it has everywhere: 403
  outside the allowed roots, 422 with the reason for a broken adapter.
- A path that is not absolute is the name of a repository on the hub, and is downloaded. Here only if that is enabled;
  a repository that is not there is a 404, as a folder is, and a hub that cannot be reached a 503.
- `is_3d_lora_weight`, about mixtures of experts, is refused unless it is false; fields nobody knows are ignored.
- An unload takes `lora_name`; `lora_int_id` is accepted and not looked at, by vLLM neither. An unknown name is a 404.
  vLLM forgets the adapter; here it is deleted with all its versions: there is one registry, and it outlives restarts.
- Requests about the same name wait for each other.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal
from weakref import WeakValueDictionary

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from adapters.content import MODEL_CONFIG
from adapters.peft_config import CONFIG_FILE
from ragtune.errors import InvalidRequest, UnknownName
from ragtune.mode import Ref, check_name
from ragtune.roots import real_path
from service.access import author, needs
from service.documented import POSTED, Responses, refusals
from service.intake import downloaded
from service.parts import Parts
from service.registering import register
from service.removing import remove_adapter

_LoraName = Annotated[str, Field(min_length=1, description="the adapter's name")]


class LoadLora(BaseModel):
    """As vLLM has it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"lora_name": "support", "lora_path": "/data/support", "load_inplace": True}]}
    )

    lora_name: _LoraName
    lora_path: str = Field(min_length=1, description="a folder inside an allowed root, or USER/REPOSITORY on the hub")
    load_inplace: bool = Field(default=False, description="whether a name that exists gets a new version")
    is_3d_lora_weight: Literal[False] = False


class UnloadLora(BaseModel):
    """As vLLM has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lora_name": "support"}]})

    lora_name: _LoraName
    lora_int_id: int | None = Field(default=None, description="not looked at")


def router(parts: Parts) -> APIRouter:
    """/v1/load_lora_adapter, /v1/unload_lora_adapter."""
    routes = APIRouter(prefix="/v1", tags=["adapters"], default_response_class=Response)
    locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @routes.post(
        "/load_lora_adapter",
        dependencies=[needs("adapters:write")],
        responses=_success("added") | refusals(*POSTED, 404, 422, 507),
    )
    async def load_lora_adapter(body: LoadLora, request: Request) -> PlainTextResponse:
        """Register an adapter under a name, as vLLM does: a name that exists is refused without `load_inplace`."""
        check_name(body.lora_name, "lora_name")
        async with _lock(body.lora_name, locks):
            if body.lora_name in parts.adapters.names() and not body.load_inplace:
                raise InvalidRequest(
                    f"the adapter {body.lora_name!r} has already been loaded; set load_inplace to true to replace it",
                    param="lora_name",
                )
            async with _found(body, parts) as folder:
                await register(parts, body.lora_name, folder, author(request))
        return PlainTextResponse(_sentence(body.lora_name, "added"))

    @routes.post(
        "/unload_lora_adapter",
        dependencies=[needs("adapters:write")],
        responses=_success("removed") | refusals(*POSTED, 404, 507),
    )
    async def unload_lora_adapter(body: UnloadLora) -> PlainTextResponse:
        """Delete an adapter with all its versions, as DELETE /v1/adapters/{name} does."""
        async with _lock(body.lora_name, locks):
            await remove_adapter(Ref(check_name(body.lora_name, "lora_name")), parts)
        return PlainTextResponse(_sentence(body.lora_name, "removed"))

    return routes


def _lock(name: str, locks: WeakValueDictionary[str, asyncio.Lock]) -> asyncio.Lock:
    """The lock of a name; it is forgotten once nobody holds it or waits for it."""
    return locks.setdefault(name, asyncio.Lock())


@asynccontextmanager
async def _found(body: LoadLora, parts: Parts) -> AsyncIterator[Path]:
    """The folder of the adapter. Raises UnknownName if there is none, Forbidden outside the allowed roots."""
    path = Path(body.lora_path)
    if not path.is_absolute():
        with parts.adapters.versions.staging() as staged:
            yield (await downloaded(body.lora_path, None, staged, parts, "lora_path", missing=UnknownName)).folder
        return
    folder = parts.adapters.allowed(path, "lora_path")
    if not any(real_path(folder / name, "lora_path").is_file() for name in (CONFIG_FILE, MODEL_CONFIG)):
        raise UnknownName(f"loading {body.lora_name!r} failed: no adapter found at {body.lora_path}", param="lora_path")
    yield folder


def _sentence(name: str, what: str) -> str:
    """What vLLM answers, to the letter: there are programs that look for it."""
    return f"Success: LoRA adapter '{name}' {what} successfully."


def _success(what: str) -> Responses:
    content = {"text/plain": {"schema": {"type": "string"}, "example": _sentence("support", what)}}
    return {200: {"description": "One sentence, as plain text.", "content": content}}
