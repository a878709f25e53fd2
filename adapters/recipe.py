"""A training recipe: one short TOML file says what is trained on what, and how.

    name = "support-lora"              # the adapter it becomes
    method = "lora"
    train = "train.jsonl"              # examples; relative to the recipe
    index = "handbook"                 # optional: put retrieved passages into the prompts, as `+rag` does
    epochs = 2
    batch_tokens = 1024                # tokens of one step, padding included: this decides how much memory it takes
    learning_rate = 5e-4

    [lora]
    rank = 16

Everything else has a default. A misspelt field fails before anything is loaded.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from ragtune.errors import RagtuneError, RefusedArtifact, UnknownName
from ragtune.mode import Ref, check_name


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraOptions(_Section):
    """LoRA (Hu et al. 2021). `target` is "all-linear" or names of linear layers; `layers` trains only the last n."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    rslora: bool = False
    target: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    layers: int | None = Field(default=None, ge=1)


class PromptTuningOptions(_Section):
    """Prompt tuning (Lester et al. 2021), initialised from the embeddings of `init_text`, repeated as needed."""

    virtual_tokens: int = Field(default=16, ge=1, le=512)
    init_text: str = Field(default="Answer the question in as few words as possible.", min_length=1)


class Recipe(_Section):
    """One training. Of `epochs` and `max_steps` the one reached first ends it, so the same recipe trains the same.

    `max_tokens` is the longest prompt plus answer; longer examples are left out and reported.
    """

    name: str
    method: Literal["lora", "prompt_tuning"]
    train: Path
    task: str | None = Field(default=None, description="only examples of this task")
    limit: int | None = Field(default=None, ge=1, description="only so many examples, drawn by the seed")
    template: str | None = None
    index: str | None = None
    top_k: int | None = Field(
        default=None, ge=1, le=100, description="passages at most; as the settings say if left out"
    )
    passage_tokens: int | None = Field(default=None, ge=16, description="their budget; as the settings say if left out")
    epochs: float = Field(default=1, gt=0, le=1000)
    max_steps: int | None = Field(default=None, ge=1)
    batch_tokens: int = Field(default=1024, ge=1, description="a longer example is a batch of its own")
    learning_rate: float = Field(default=5e-4, gt=0, lt=10)
    warmup: float = Field(default=0.06, ge=0, lt=1, description="share of the steps in which the rate rises")
    weight_decay: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=1024, ge=16)
    seed: int = 0
    lora: LoraOptions = LoraOptions()
    prompt_tuning: PromptTuningOptions = PromptTuningOptions()

    @field_validator("name")
    @classmethod
    def _legal(cls, name: str) -> str:
        return check_name(name, "name")

    @field_validator("template", "index")
    @classmethod
    def _reference(cls, text: str | None) -> str | None:
        return None if text is None else str(Ref.parse(text))

    @model_validator(mode="after")
    def _passages_need_an_index(self) -> "Recipe":
        if self.index is None and (self.top_k or self.passage_tokens):
            raise ValueError("top_k and passage_tokens need an index to retrieve from")
        return self

    @model_validator(mode="before")
    @classmethod
    def _only_its_own_section(cls, written: dict[str, JsonValue]) -> dict[str, JsonValue]:
        method = written.get("method")
        for section in ("lora", "prompt_tuning"):
            if section in written and method in ("lora", "prompt_tuning") and method != section:
                raise ValueError(f"section [{section}] does not belong to method {method!r}")
        return written


_SECTIONS: dict[str, type[_Section]] = {"lora": LoraOptions, "prompt_tuning": PromptTuningOptions}


def read_recipe(path: Path) -> tuple[Recipe, dict[str, JsonValue]]:
    """The recipe with its data path absolute, and as written. Raises RefusedArtifact naming the field at fault."""
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(written)
    except OSError as error:
        raise RefusedArtifact(f"cannot read recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedArtifact(f"recipe {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise RefusedArtifact(f"recipe {path}: {_problem(error)}") from error
    except RagtuneError as error:
        raise RefusedArtifact(f"recipe {path}: {error.message}") from error
    return recipe.model_copy(update={"train": path.parent.resolve() / recipe.train}), written


def _problem(error: ValidationError) -> str:
    """The first problem with its place; a misspelt field goes before the one that is missing because of it."""
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        section = _SECTIONS.get(place[0], Recipe) if len(place) > 1 else Recipe
        return UnknownName.among("field", place[-1], section.model_fields).message
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(place)}: {message}" if place else message
