"""The application, assembled."""

from importlib.metadata import version

from fastapi import Depends, FastAPI

from service import errors
from service.access import Access, Doors
from service.auditing import Audited
from service.border import Border, whole_characters
from service.documented import ALWAYS, describe, refusals
from service.openai import completions, embeddings
from service.openai.responses import ChatChunk
from service.parts import Parts
from service.routes import (
    adapters,
    audit,
    documents,
    engine,
    evaluations,
    feedback,
    health,
    indexes,
    jobs,
    models,
    modes,
    query,
    templates,
    tokens,
    training,
    vllm,
)

_TAGS = [
    {"name": "openai", "description": "What OpenAI's clients speak; `model` is the mode."},
    {"name": "tokens", "description": "Texts and tokens, as vLLM has them."},
    {"name": "query", "description": "One question in one mode, or in several at once."},
    {"name": "adapters", "description": "LoRAs, soft prompts and prefixes as versions behind a name."},
    {"name": "indexes", "description": "Knowledge indexes as versions behind a name."},
    {"name": "documents", "description": "What indexes are built from."},
    {"name": "templates", "description": "Prompt templates as versions behind a name."},
    {"name": "training", "description": "Adapters made here, from a recipe and labelled examples."},
    {"name": "evaluations", "description": "Suites asked of this service, with a verdict."},
    {"name": "jobs", "description": "Long work: builds of indexes, trainings and evaluations."},
    {"name": "feedback", "description": "What people thought of answers, and the examples it makes."},
    {"name": "engine", "description": "What is in memory, and how busy it is."},
    {"name": "audit", "description": "Who changed something."},
    {"name": "modes", "description": "Aliases for whole modes."},
    {"name": "health", "description": "Whether it lives, and whether it takes requests."},
]


def create_app(parts: Parts) -> FastAPI:
    """All routes over `parts`."""
    app = FastAPI(
        title="ragtune",
        version=version("ragtune"),
        description="Prompt, retrieval, LoRA and soft prompts as a per-request choice over one base model.",
        responses=refusals(*ALWAYS),
        openapi_tags=_TAGS,
        dependencies=[Depends(whole_characters)],
    )
    errors.install(app)
    describe(app, ChatChunk)
    guarded = (
        completions.router(parts),
        embeddings.router(parts),
        tokens.router(parts),
        query.router(parts),
        models.router(parts),
        adapters.router(parts),
        vllm.router(parts),
        indexes.router(parts),
        documents.router(parts),
        templates.router(parts),
        modes.router(parts),
        jobs.router(parts),
        training.router(parts),
        evaluations.router(parts),
        feedback.router(parts),
        engine.router(parts),
        audit.router(parts),
    )
    open_to_all = health.router(parts)
    for router in guarded:
        app.include_router(router, responses=refusals(401))
    app.include_router(open_to_all)
    doors = Doors((*guarded, open_to_all))
    hosts = frozenset({*parts.settings.allowed_hosts, parts.settings.host} - {"0.0.0.0", "::"})
    app.add_middleware(Access, doors=doors, gate=parts.gate)  # the one added last stands outermost
    app.add_middleware(
        Border,
        hosts=hosts,
        lifecycle=parts.lifecycle,
        max_upload=parts.settings.max_upload,
        max_document=parts.settings.max_document,
    )
    app.add_middleware(Audited, doors=doors, audit=parts.audit)
    return app
