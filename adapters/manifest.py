"""What is recorded of an adapter: by the training that made it, and by the registry that checked it.

A training writes its record into the adapter's folder as `ragtune.json`. Adapters made elsewhere have none; they are
checked by shape only and are shown as `base: unverified`.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from ragtune.errors import RefusedArtifact

RECORD_FILE = "ragtune.json"
_MOST = 1 << 20  # bytes: it becomes part of the manifest, which every request reads

AdapterKind = Literal["lora", "merged", "checkpoint", "soft_prompt", "prefix"]
HeadOf = Literal["base", "tied", "own"]
_LowRank = Literal["lora", "qlora"]
_Merged = Literal["dora", "ia3", "loha", "lokr", "oft", "adalora", "vera"]
_FineTuned = Literal["partial", "full"]
_Prompt = Literal["prompt_tuning", "p_tuning", "prefix_tuning"]
Method = _LowRank | _Merged | _FineTuned | _Prompt


class CurvePoint(BaseModel):
    """The loss at one optimiser step, in nats a token; `validation` where it was looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(ge=1)
    loss: FiniteFloat
    validation: FiniteFloat | None = None


class SearchedRate(BaseModel):
    """A learning rate that was tried for `steps` steps, and the validation loss it reached; None: it diverged.

    Where nothing was kept aside the loss is that of training over the last quarter of the steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(gt=0)
    steps: int = Field(ge=1)
    validation_loss: FiniteFloat | None


class TaskBill(BaseModel):
    """One task of the training: its share of the examples drawn, and its validation loss, in nats a token.

    `alone` is the validation loss of a model trained on this task only, on as many of its examples; None: not trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: int = Field(ge=0)
    share: float = Field(ge=0, le=1)
    validation_loss: FiniteFloat | None
    alone: FiniteFloat | None = None


class Forgetting(BaseModel):
    """What the training did to what the base model could: its loss on a fixed general text in nats a token, and how
    many of a few general questions that the base model answers are still answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_loss: FiniteFloat
    loss: FiniteFloat
    answered_by_base: int = Field(ge=0)
    still_answered: int = Field(ge=0)


class Bill(BaseModel):
    """What a training cost and what it did. Seconds are of the whole run, from reading the data to loading again what
    was saved; proof and trial at registration come after. Peak memory is that of learning. Bytes are bytes.

    `train_loss` and `validation_loss` are of what is published, on equally many examples of each: their distance is
    overfitting. `cpu_seconds` are of all threads; `gpu_seconds` are those in which a GPU was held.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_seconds: float = Field(ge=0)
    search_seconds: float = Field(default=0.0, ge=0, description="of these, the search over learning rates")
    measuring_seconds: float = Field(
        default=0.0, ge=0, description="of these, what only measures: the training loss, forgetting, each task alone"
    )
    cpu_seconds: float = Field(ge=0)
    gpu_seconds: float | None = Field(default=None, ge=0)
    peak_memory: int = Field(ge=0)
    gpu_peak_memory: int | None = Field(default=None, ge=0)
    tokens: int = Field(ge=0, description="prompts and answers, without padding")
    answer_tokens: int = Field(ge=0, description="those that carry the loss")
    tokens_per_second: float = Field(ge=0)
    trainable_parameters: int = Field(ge=0)
    total_parameters: int = Field(ge=0)
    artifact_bytes: int = Field(ge=0)
    hourly_rate: float | None = Field(default=None, ge=0, description="RAGTUNE_HOURLY_RATE, in whatever currency")
    price: float | None = Field(default=None, ge=0, description="wall time at that rate")
    learning_rate: float = Field(gt=0)
    searched: tuple[SearchedRate, ...] = ()
    best_step: int = Field(ge=0, description="the step whose weights are published")
    stopped_early: bool = False
    train_loss: FiniteFloat | None = None
    validation_loss: FiniteFloat | None = None
    tasks: dict[str, TaskBill] = {}
    forgetting: Forgetting | None = None
    curve: tuple[CurvePoint, ...] = Field(default=(), max_length=200)
    duplicates: dict[str, int] = Field(default={}, description="found between the files, by the kind of pair")
    machine: str = Field(default="", description="processors, threads and accelerator")


class TrainingRecord(BaseModel):
    """How an adapter came about. `seconds` is wall time of the training loop, `tokens` all tokens computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_fingerprint: str
    base_id: str
    method: Method
    recipe: dict[str, JsonValue] = Field(description="the recipe as written, its data paths absolute")
    data_sha256: str
    rendering_hash: str
    template: str | None = Field(description="name@version of the template, or None for the built-in layout")
    index: str | None = Field(description="name@version of the index whose passages stood in the prompts")
    seconds: float = Field(ge=0)
    steps: int = Field(ge=0)
    examples: int = Field(ge=0)
    tokens: int = Field(ge=0)
    trainable_parameters: int = Field(ge=0)
    final_loss: float | None
    metrics: dict[str, FiniteFloat] = Field(default={}, description="what it reached, by the name of the metric")
    seed: int | None = None
    bill: Bill | None = Field(default=None, description="None for trainings before there was one")
    versions: dict[str, str] = Field(description="library versions")
    created: str

    def write(self, folder: Path) -> None:
        """Save into an adapter folder."""
        (folder / RECORD_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "TrainingRecord | None":
        """The record in an adapter folder, or None if it has none. Raises RefusedArtifact for a broken one."""
        path = folder / RECORD_FILE
        if not path.is_file():
            return None
        if path.stat().st_size > _MOST:
            raise RefusedArtifact(f"{RECORD_FILE} is larger than {_MOST >> 20} MiB; remove it to register without it")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "file"
            raise RefusedArtifact(
                f"{RECORD_FILE}: {field}: {first['msg']}; remove the file to register without it"
            ) from error


class Proof(BaseModel):
    """What a probe found when the adapter was registered, on a few fixed prompts. Differences are of logits.

    `inert` means that the adapter changes nothing: every answer would be the base model's.
    """

    model_config = ConfigDict(frozen=True)

    effect: float = Field(ge=0, description="largest difference from the base model")
    error: float = Field(ge=0, description="largest difference between what is served and the reference")
    reference: str = Field(description="what it was compared with: a library and its version")
    positions: int = Field(ge=1, description="positions compared, all logits each")
    inert: bool


class AdapterManifest(BaseModel):
    """A checked adapter. `checked_against` is the fingerprint of the base model it was found to fit.

    `base` is "verified" if its training recorded that same base model, "unverified" if nothing was recorded.
    """

    model_config = ConfigDict(frozen=True)

    kind: AdapterKind
    method: Method
    base: Literal["verified", "unverified"]
    base_name: str | None = Field(description="the base model as the adapter names it")
    checked_against: str
    architecture: str
    sha256: str = Field(description="over all files that matter")
    bytes: int = Field(description="size of the weights file")
    parameters: int
    ranks: tuple[int, ...] = Field(default=(), description="distinct LoRA ranks, ascending")
    target_modules: tuple[str, ...] = ()
    virtual_tokens: int = 0
    eos_ids: tuple[int, ...] = Field(default=(), description="tokens a checkpoint ends with, besides the base model's")
    head: HeadOf = Field(default="base", description="whose output head: the base model's, its own, or its embeddings")
    memory: int = Field(default=0, description="bytes its tensors take in the engine, in fp32")
    lane_sha256: str | None = Field(default=None, description="of the whole tensors made from it, where it has a lane")
    proof: Proof | None = Field(default=None, description="None for versions registered before there was one")
    peft_version: str | None = None
    training: TrainingRecord | None = None
