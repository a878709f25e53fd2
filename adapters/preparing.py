"""From a folder somebody names to a staged version, ready to be published: copied, checked, probed.

Everything that takes time or could hurt happens here, so the service has a niced process do it (`adapters.prover`).
What is checked is the copy, which nobody else can change.
"""

import shutil
from pathlib import Path

from adapters import checkpoint, inspection
from adapters.base_model import BaseModelInfo
from adapters.content import CHECKPOINT_FILES, MODEL_CONFIG, PEFT_FILES
from adapters.fingerprint import file_sha256
from adapters.lane_file import LANE_FILE
from adapters.manifest import AdapterManifest
from adapters.peft_config import CONFIG_FILE, read_config
from adapters.proof import Prober
from adapters.stored_tensors import weights_path
from ragtune.errors import RefusedArtifact


class Preparing:
    """Prepares versions for one base model."""

    def __init__(self, base: BaseModelInfo) -> None:
        self._base = base
        self._prober = Prober(base)

    def prepare(self, source: Path, staged: Path) -> AdapterManifest:
        """Fill the folder `staged` from `source`, and say what it is. Raises RefusedArtifact with the reason."""
        if (source / CONFIG_FILE).exists() or not (source / MODEL_CONFIG).exists():
            manifest = self._take_peft(source, staged)
        else:
            for file in (*CHECKPOINT_FILES, *(path.name for path in source.glob("*.safetensors*"))):
                _inside(source, file)
            _copy(source, staged, CHECKPOINT_FILES)
            manifest = checkpoint.take_checkpoint(source, staged, self._base)
        manifest = self._prober.prove(staged, manifest, source)
        lane = staged / LANE_FILE
        return manifest.model_copy(update={"lane_sha256": file_sha256(lane) if lane.is_file() else None})

    def _take_peft(self, source: Path, staged: Path) -> AdapterManifest:
        for file in PEFT_FILES:  # links first: nothing outside the folder may be read, or told of in an error
            _inside(source, file)
        read_config(source)
        weights_path(source)  # what is wrong with these two is told of the folder that was named
        _copy(source, staged, PEFT_FILES)
        return inspection.inspect(staged, self._base)


def _copy(source: Path, staged: Path, files: tuple[str, ...]) -> None:
    for file in files:
        if (source / file).is_file():
            shutil.copyfile(_inside(source, file), staged / file)


def _inside(source: Path, file: str) -> Path:
    """The file itself, if no link leads out of the folder."""
    real = (source / file).resolve()
    if not real.is_relative_to(source):
        raise RefusedArtifact(f"{file} is a link that leads out of the adapter's folder")
    return real
