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
_LowRank = Literal["lora"]
_Merged = Literal["dora", "ia3", "loha", "lokr", "oft", "adalora", "vera"]
_FineTuned = Literal["partial", "full"]
_Prompt = Literal["prompt_tuning", "p_tuning", "prefix_tuning"]
Method = _LowRank | _Merged | _FineTuned | _Prompt


class TrainingRecord(BaseModel):
    """How an adapter came about. `seconds` is wall time of the training loop, `tokens` all tokens computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_fingerprint: str
    base_id: str
    method: Method
    recipe: dict[str, JsonValue] = Field(description="the recipe as written")
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
