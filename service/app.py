"""The application, assembled."""

from importlib.metadata import version

from fastapi import Depends, FastAPI

from ragtune.wire import ErrorEnvelope
from service import errors
from service.border import Border, whole_characters
from service.openai import completions, embeddings
from service.parts import Parts
from service.routes import health, models, query, resources, tokens

_ERRORS = {status: {"model": ErrorEnvelope} for status in (400, 403, 404, 413, 422, 423, 429, 500, 503, 504)}


def create_app(parts: Parts) -> FastAPI:
    """All routes over `parts`."""
    app = FastAPI(
        title="ragtune",
        version=version("ragtune"),
        description="Prompt, retrieval, LoRA and soft prompts as a per-request choice over one base model.",
        responses=_ERRORS,  # type: ignore[arg-type]
        dependencies=[Depends(whole_characters)],
    )
    errors.install(app)
    for router in (
        completions.router(parts),
        embeddings.router(parts),
        tokens.router(parts),
        query.router(parts),
        models.router(parts),
        resources.adapters(parts),
        resources.indexes(parts),
        resources.templates(parts),
        health.router(parts),
    ):
        app.include_router(router)
    hosts = frozenset({*parts.settings.allowed_hosts, parts.settings.host} - {"0.0.0.0", "::"})
    app.add_middleware(Border, hosts=hosts, lifecycle=parts.lifecycle)
    return app
