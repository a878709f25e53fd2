"""A training recipe: one short TOML file says what is trained on what, and how.

    name = "support-lora"              # the adapter it becomes
    method = "lora"                    # one of METHODS
    train = "train.jsonl"              # labelled records, or a list of files; relative to the recipe
    validation = "validation.jsonl"    # optional: else a share of `train` is kept aside
    index = "handbook"                 # optional: put passages into the prompts, as `+rag` does
    epochs = 2
    batch_tokens = 1024                # tokens of one batch, padding included: this decides how much memory it takes

    [lora]
    rank = 16

Everything else has a default. A misspelt field fails before anything is loaded.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from ragtune.errors import RagtuneError, RefusedArtifact, UnknownName
from ragtune.mode import Ref, check_name

Method = Literal["full", "partial", "lora", "dora", "ia3", "prompt_tuning", "p_tuning", "prefix_tuning", "qlora"]
METHODS: tuple[Method, ...] = get_args(Method)
Names = Annotated[tuple[str, ...], Field(min_length=1)]

# Where a recipe names no rate, and what `--search` tries: found for models of some hundred million parameters.
RATES: Mapping[Method, tuple[float, float, float]] = {
    "full": (1e-5, 5e-5, 2e-4),
    "partial": (3e-5, 1e-4, 5e-4),
    "lora": (1e-4, 5e-4, 2e-3),
    "dora": (1e-4, 5e-4, 2e-3),
    "qlora": (1e-4, 5e-4, 2e-3),
    "ia3": (1e-3, 5e-3, 2e-2),
    "prompt_tuning": (5e-3, 2e-2, 5e-2),
    "p_tuning": (1e-4, 3e-4, 1e-3),
    "prefix_tuning": (5e-3, 2e-2, 5e-2),
}
"""Learning rates of each method to search over; the middle one is its default."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FullOptions(_Section):
    """Full fine-tuning: every tensor is trained, embeddings and head included."""


class PartialOptions(_Section):
    """Partial fine-tuning: the last `layers` decoder layers, or the parameters that match one of `patterns`.

    A pattern is a shell-style wildcard over the parameter's whole name, as in `model.layers.2?.mlp.*`. Embeddings and
    head stay frozen unless said otherwise here; where the two are tied they are one tensor, and `head` trains both.
    """

    layers: int | None = Field(default=None, ge=1)
    patterns: tuple[str, ...] = ()
    embeddings: bool = False
    head: bool = False

    @model_validator(mode="after")
    def _one_choice(self) -> "PartialOptions":
        if (self.layers is None) == (not self.patterns):
            raise ValueError("say either layers = 8 (the last eight) or patterns = [...]")
        return self


class LoraOptions(_Section):
    """LoRA (Hu et al. 2021), rsLoRA, DoRA. `target` is "all-linear" or names of linear layers; `layers` trains only
    the last n; the patterns give single layers another rank or alpha, by the end of their name."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    rslora: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target: Literal["all-linear"] | Names = "all-linear"
    layers: int | None = Field(default=None, ge=1)
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=1024)]] = {}
    alpha_pattern: dict[str, Annotated[float, Field(gt=0)]] = {}


class Ia3Options(_Section):
    """IA3 (Liu et al. 2022): a factor per key, value and inner feed-forward activation. None: as PEFT has it for this
    model."""

    target: Names | None = None
    feedforward: tuple[str, ...] | None = None


class PromptTuningOptions(_Section):
    """Prompt tuning (Lester et al. 2021), initialised from the embeddings of `init_text`, repeated as needed; an empty
    text starts from random vocabulary embeddings."""

    virtual_tokens: int = Field(default=16, ge=1, le=512)
    init_text: str = "Answer the question in as few words as possible."


class PTuningOptions(_Section):
    """P-tuning (Liu et al. 2021): virtual tokens through a small encoder, which is baked in when saved."""

    virtual_tokens: int = Field(default=16, ge=1, le=512)
    encoder: Literal["mlp", "lstm"] = "mlp"
    hidden: int | None = Field(
        default=None, ge=1, le=16384, description="width of the encoder; as the model if left out"
    )


class PrefixTuningOptions(_Section):
    """Prefix tuning (Li and Liang 2021): keys and values for every layer, directly or through a projection."""

    virtual_tokens: int = Field(default=16, ge=1, le=512)
    projection: bool = False
    hidden: int | None = Field(default=None, ge=1, le=16384, description="width of the projection; as the model")


class CsvColumns(_Section):
    """Which columns of a CSV file hold what; None is found by its usual names."""

    query: str | None = None
    answer: str | None = None
    id: str | None = None
    task: str | None = None


class Recipe(_Section):
    """One training. Of `epochs` and `max_steps` the one reached first ends it, so the same recipe trains the same.

    `max_tokens` is the longest prompt plus answer; longer examples are left out and reported.
    """

    name: str
    method: Method

    train: Annotated[tuple[Path, ...], Field(min_length=1)]
    format: Literal["auto", "examples", "messages", "squad", "csv"] = "auto"
    csv: CsvColumns = CsvColumns()
    task: str | None = Field(default=None, description="only examples of this task")
    limit: int | None = Field(default=None, ge=1, description="only so many examples, drawn by the seed")
    validation: Path | None = None
    validation_share: float = Field(
        default=0.1, ge=0, le=0.5, description="of `train`, kept aside where there is no validation file"
    )
    validation_limit: int = Field(default=32, ge=1, description="validation examples at most, drawn by the seed")
    heldout: tuple[Path, ...] = Field(default=(), description="never trained on: only compared, to find leaks")
    mixing: Literal["proportional", "temperature", "equal"] = "proportional"
    temperature: float = Field(default=2.0, ge=1, description="of mixing: share ~ size ** (1 / temperature)")
    weights: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(
        default={}, description="factor on each task's share, by task"
    )

    template: str | None = None
    index: str | None = None
    passages: Literal["retrieved", "gold"] = "retrieved"
    top_k: int | None = Field(
        default=None, ge=1, le=100, description="passages at most; as the settings say if left out"
    )
    passage_tokens: int | None = Field(default=None, ge=16, description="their budget; as the settings say if left out")
    distractors: int = Field(default=2, ge=0, le=50, description="with gold passages: others beside them")
    without_gold: float = Field(
        default=0.1, ge=0, le=0.9, description="with gold passages: share of examples that get others only"
    )
    unanswerable: str = Field(default="Not in the documents.", min_length=1, description="what those are answered")

    epochs: float = Field(default=1, gt=0, le=1000)
    max_steps: int | None = Field(default=None, ge=1)
    batch_tokens: int = Field(default=1024, ge=1, description="a longer example is a batch of its own")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="examples of a batch, of any length; None: as many as batch_tokens takes",
    )
    accumulate: int = Field(default=1, ge=1, le=1024, description="batches that make one optimiser step")
    learning_rate: float | None = Field(default=None, gt=0, lt=10, description="None: a usual one for the method")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(default=0.06, ge=0, lt=1, description="share of the steps in which the rate rises")
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=1024, ge=16)
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    evaluations: int = Field(
        default=4, ge=1, le=10_000, description="how often the validation loss is looked at, evenly"
    )
    patience: int = Field(default=2, ge=1, description="looks without a better validation loss that end the training")
    forgetting: bool = Field(default=True, description="whether to measure what the training did to the rest")
    checkpoint_every: int = Field(default=50, ge=1, description="steps between two states to resume from")

    full: FullOptions = FullOptions()
    partial: PartialOptions = PartialOptions(layers=8)
    lora: LoraOptions = LoraOptions()
    dora: LoraOptions = LoraOptions()
    qlora: LoraOptions = LoraOptions()
    ia3: Ia3Options = Ia3Options()
    prompt_tuning: PromptTuningOptions = PromptTuningOptions()
    p_tuning: PTuningOptions = PTuningOptions()
    prefix_tuning: PrefixTuningOptions = PrefixTuningOptions()

    @property
    def rate(self) -> float:
        """The learning rate, or the method's usual one."""
        return self.learning_rate if self.learning_rate is not None else RATES[self.method][1]

    def beside(self, folder: Path) -> "Recipe":
        """The same with relative data paths taken from `folder`."""
        paths = {"train": tuple(folder / path for path in self.train)}
        paths |= {"heldout": tuple(folder / path for path in self.heldout)}
        validation = None if self.validation is None else folder / self.validation
        return self.model_copy(update={**paths, "validation": validation})

    @field_validator("name")
    @classmethod
    def _legal(cls, name: str) -> str:
        return check_name(name, "name")

    @field_validator("template", "index")
    @classmethod
    def _reference(cls, text: str | None) -> str | None:
        return None if text is None else str(Ref.parse(text))

    @field_validator("train", "heldout", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str | Path) else given

    @model_validator(mode="after")
    def _passages_need_an_index(self) -> "Recipe":
        if self.index is None and (self.top_k or self.passage_tokens or self.passages == "gold"):
            raise ValueError("top_k, passage_tokens and passages need an index to take passages from")
        return self

    @model_validator(mode="before")
    @classmethod
    def _only_its_own_section(cls, written: dict[str, JsonValue]) -> dict[str, JsonValue]:
        method = written.get("method")
        if method in METHODS:
            for section in METHODS:
                if section in written and method != section:
                    raise ValueError(f"section [{section}] does not belong to method {method!r}")
        return written


_SECTIONS: dict[str, type[_Section]] = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, _Section)
}


def read_recipe(path: Path) -> tuple[Recipe, dict[str, JsonValue]]:
    """The recipe with its data paths absolute, and as written. Raises RefusedArtifact naming the field at fault."""
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
        recipe = parse_recipe(written, f"recipe {path}")
    except OSError as error:
        raise RefusedArtifact(f"cannot read recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedArtifact(f"recipe {path} is not valid TOML: {error}") from error
    return recipe.beside(path.parent.resolve()), written


def parse_recipe(written: Mapping[str, JsonValue], source: str = "recipe") -> Recipe:
    """The recipe as written in TOML or JSON. Raises RefusedArtifact naming `source` and the field at fault, which is
    its `param`."""
    try:
        return Recipe.model_validate(dict(written))
    except ValidationError as error:
        raise RefusedArtifact(f"{source}: {_problem(error)}", param=_place(_first(error))) from error
    except RagtuneError as error:
        raise RefusedArtifact(f"{source}: {error.message}", param=error.param) from error


def _first(error: ValidationError) -> ErrorDetails:
    """A misspelt field goes before the one that is missing because of it."""
    return min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")


def _place(problem: ErrorDetails) -> str | None:
    return ".".join(map(str, problem["loc"])) or None


def _problem(error: ValidationError) -> str:
    """The first problem with its place."""
    first = _first(error)
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        section = _SECTIONS.get(place[0], Recipe) if len(place) > 1 else Recipe
        return UnknownName.among("field", place[-1], section.model_fields).message
    if place == ["method"] and first["type"] == "literal_error":
        return UnknownName.among("method", str(first["input"]), METHODS).message
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(place)}: {message}" if place else message
