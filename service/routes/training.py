"""/v1/training: train an adapter as a job, and list the trainings there were."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator, ValidationInfo, field_validator

from adapters.recipe import RATES, Recipe, parse_recipe
from ragtune.errors import Forbidden, InvalidRequest, RefusedArtifact
from ragtune.examples import Example
from ragtune.job import Job
from service.access import author, needs, tenant
from service.documented import NAMED, refusals
from service.parts import Parts
from service.submitting import keep, submit
from service.training import JOB, MOST_RATES, TrainingSpec

_ACCEPTED = 202
_BEGUN: dict[int | str, dict[str, Any]] = {_ACCEPTED: {"description": "The job has begun.", "model": Job}}
_SENT = {"train": "examples", "validation": "validation_examples"}  # what a recipe names files for, and how to send it
_EXAMPLE: dict[str, JsonValue] = {
    "recipe": {"name": "support-lora", "method": "lora", "epochs": 2, "lora": {"rank": 16}},
    "examples": [
        {"id": "1", "query": "How long is the warranty?", "answers": ["26 months"]},
        {"id": "2", "query": "Who pays for the way back?", "answers": ["We do"]},
    ],
    "alias": "prod",
}
Rate = Annotated[float, Field(gt=0, lt=10)]


class WrittenRecipe(Recipe):
    """A recipe as in TOML. Paths are the server's, absolute and inside RAGTUNE_TRAINING_ROOTS; without `train` the
    `examples` of the request are trained on."""

    train: tuple[Path, ...] = ()


def _recipe(given: Any, info: ValidationInfo) -> dict[str, JsonValue]:
    """The recipe as written, checked. Raises InvalidRequest naming the field at fault."""
    if not isinstance(given, dict):
        raise InvalidRequest("recipe: this must be an object, as a TOML file describes one", param="recipe")
    written: dict[str, JsonValue] = dict(given)
    if not info.data.keys() >= set(_SENT.values()):  # what was sent along is no good, which is told
        return written
    sent: dict[str, JsonValue] = {field: field for field, beside in _SENT.items() if info.data.get(beside)}
    if both := sorted(sent.keys() & written.keys()):
        raise InvalidRequest(
            f"the recipe names files in {both[0]!r}, and {_SENT[both[0]]!r} are sent along: choose one of them",
            param=_SENT[both[0]],
        )
    try:
        parse_recipe(written | sent)
    except RefusedArtifact as error:
        raise InvalidRequest(error.message, param=f"recipe.{error.param}" if error.param else "recipe") from error
    return written


class TrainingRequest(BaseModel):
    """What to train. `alias` will mean the new version, as in support-lora@prod."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    examples: tuple[Example, ...] = Field(default=(), description="instead of the recipe's `train`")
    validation_examples: tuple[Example, ...] = Field(default=(), description="instead of the recipe's `validation`")
    recipe: Annotated[dict[str, JsonValue], PlainValidator(_recipe, json_schema_input_type=WrittenRecipe)]
    alias: str | None = None
    search: bool | Annotated[tuple[Rate, ...], Field(min_length=1, max_length=MOST_RATES)] = Field(
        default=False, description="choose the learning rate by short runs: among the method's usual ones, or these"
    )
    interference: bool = Field(default=False, description="train each task alone, too, to compare")
    fresh: bool = Field(default=False, description="do not go on with a training of this recipe that was ended")

    @field_validator("examples", "validation_examples")
    @classmethod
    def _each_its_own(cls, examples: tuple[Example, ...]) -> tuple[Example, ...]:
        seen: set[str] = set()
        for number, example in enumerate(examples):
            if example.id in seen:
                raise ValueError(f"number {number} has the id {example.id!r} of another one; give each its own")
            seen.add(example.id)
        return examples

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose among; none to take the recipe's."""
        if isinstance(self.search, bool):
            return RATES[parse_recipe(self.recipe | {"train": "-"}).method] if self.search else ()
        return self.search


def router(parts: Parts) -> APIRouter:
    """/v1/training."""
    routes = APIRouter(prefix="/v1/training", tags=["training"])

    @routes.get("", dependencies=[needs("query")], responses=refusals(400))
    async def training_list(
        request: Request, limit: Annotated[int, Query(ge=1, le=1000, description="trainings at most")] = 100
    ) -> list[Job]:
        """Trainings at work and those that have ended lately, newest first."""
        return await asyncio.to_thread(parts.jobs.newest, limit, kind=JOB, tenant=tenant(request))

    @routes.post("", dependencies=[needs("train")], responses=refusals(*NAMED, 413, 422, 423, 507) | _BEGUN)
    async def training_start(
        body: TrainingRequest,
        request: Request,
        response: Response,
        wait: Annotated[bool, Query(description="answer when the job is done")] = False,
    ) -> Job:
        """Train the adapter that a recipe describes, as a job in a process of its own beside the service.

        Its next version is published, and served with the next request, once the service's own engine has answered
        with it. One that was ended goes on where it was, when it is resumed or the same is asked for again. A second
        training of the same adapter is refused while one runs; those of other adapters are queued, for one has half
        the machine.
        """
        if own := tenant(request):
            raise Forbidden(f"an adapter learns by heart, and is everybody's; this key is only of {own!r}")
        recipe = dict(body.recipe)
        for field, examples in (("train", body.examples), ("validation", body.validation_examples)):
            if examples:
                recipe[field] = await keep(parts, examples)
        spec = TrainingSpec(
            recipe=recipe, alias=body.alias, search=body.rates, interference=body.interference, fresh=body.fresh
        )
        job = await submit(parts, spec, author(request))
        if wait:
            return await parts.workers.done(job)
        response.status_code = _ACCEPTED
        return job

    return routes
