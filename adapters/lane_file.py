"""A lane on disk: the tensors that stand in the place of the base model's, by the name of the parameter.

Of a fine-tuned checkpoint these are the tensors that differ from the base model's; of an adapter that PEFT merges, the
merged layers. `head` in the file's metadata says whose output head it uses: "tied" to the lane's own embeddings, its
"own", or the "base" model's.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adapters.lora import EMBEDDING, HEAD
from adapters.manifest import HeadOf
from ragtune.errors import RefusedArtifact

LANE_FILE = "lane.safetensors"


def write_lane(folder: Path, tensors: Mapping[str, Tensor], head: HeadOf) -> None:
    """Save the lane; the same tensors give the same bytes."""
    ordered = {name: tensors[name].contiguous() for name in sorted(tensors)}
    save_file(ordered, folder / LANE_FILE, metadata={"head": head})


def read_lane(folder: Path) -> dict[str, Tensor]:
    """The tensors by parameter; a tied head is the very same tensor as the embeddings. Raises RefusedArtifact."""
    try:
        with safe_open(folder / LANE_FILE, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
            head = (stored.metadata() or {}).get("head")
    except (SafetensorError, OSError) as error:
        raise RefusedArtifact(f"the lane in {folder} cannot be read: {error}") from error
    if head == "tied":
        tensors[f"{HEAD}.weight"] = tensors[f"{EMBEDDING}.weight"]
    return tensors
