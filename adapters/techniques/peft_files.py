"""PEFT's two files: written for any machine, read again by plain PEFT."""

from dataclasses import dataclass
from pathlib import Path

from peft import PeftConfig, PeftModel, PromptTuningConfig, PromptTuningInit, get_peft_model
from transformers import PreTrainedModel

from adapters.base_model import BaseModelInfo
from adapters.techniques.loading import load_base, quiet
from adapters.techniques.quantised import load_quantised
from adapters.techniques.trainee import Model


@dataclass(frozen=True)
class PeftFiles:
    """`adapter_config.json` and `adapter_model.safetensors`."""

    base: BaseModelInfo
    device: str
    quantised: bool = False

    def fresh(self) -> PreTrainedModel:
        """The base model as the training has it, before anything is packed. Raises RefusedArtifact."""
        if self.quantised:
            return load_quantised(self.base, self.device)
        return load_base(self.base, packed=False, device=self.device)

    def save(self, model: Model, folder: Path) -> None:
        """They name the base model, and no folder of this machine."""
        assert isinstance(model, PeftModel)
        config = model.peft_config["default"]
        config.base_model_name_or_path = self.base.id
        if isinstance(config, PromptTuningConfig):  # how it was initialised no longer matters
            config.prompt_tuning_init, config.tokenizer_name_or_path = PromptTuningInit.RANDOM, None
        model.save_pretrained(str(folder), save_embedding_layers=False)  # "auto" would ask the hub
        (folder / "README.md").unlink(missing_ok=True)  # a template to fill in, with this machine's path to the model

    def reload(self, folder: Path) -> PeftModel:
        """On a base model as in training."""
        return _on(self.fresh(), folder)

    def plain(self, folder: Path) -> PeftModel:
        """On the base model as it is served."""
        return _on(load_base(self.base, packed=False, device=self.device), folder)


def wrap(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """`model`, changed in place, with what PEFT adds to it."""
    with quiet():
        wrapped = get_peft_model(model, config)
    assert isinstance(wrapped, PeftModel)
    return wrapped


def _on(model: PreTrainedModel, folder: Path) -> PeftModel:
    with quiet():
        return PeftModel.from_pretrained(model, str(folder)).eval()
