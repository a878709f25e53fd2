"""Proof at registration: what will be served is what PEFT and transformers compute, and it does something.

A few fixed prompts go through three models: the base model, the adapter as its own library applies it, and the adapter
as the engine's loading reads it, written out plainly. The second and third must agree. Adapters that PEFT merges get
their lane here, from PEFT itself, with every tensor of the file accounted for.
"""

import copy
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, PeftType, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, logging

from adapters.base_model import BaseModelInfo
from adapters.lane_file import write_lane
from adapters.lora import HEAD
from adapters.manifest import AdapterManifest, Proof
from adapters.stored_tensors import WEIGHTS_FILE
from adapters.tokenizer import load_tokenizer
from adapters.weights import LoraPair, WeightChanges, load_changes, load_prefix, load_soft_prompt
from ragtune.errors import RagtuneError, RefusedArtifact

TOLERANCE = 1e-3  # of logits: an error of reading shows at once, rounding of a deep model stays below
_NOTHING = 1e-6  # an effect that rounding alone could have
_PROMPTS = (
    "The warranty of a pump is 24 months from the day of delivery, unless",
    "Question: Which planet is the largest one?\nAnswer:",
)
_LONGEST = 8  # tokens of a prompt: what is read wrongly shows at once, and a registration should be cheap
_TRACED = 64  # numbers of each tensor that are looked at again afterwards


class Prober:
    """Probes adapters against one base model, which is loaded with the first. Not safe for several threads at once."""

    def __init__(self, base: BaseModelInfo) -> None:
        self._base = base
        self._layers: tuple[str, PeftModel] | None = None  # PEFT's, and the config they are of

    def prove(self, staged: Path, manifest: AdapterManifest, source: Path) -> AdapterManifest:
        """The manifest with its proof, and with the lane of a merged kind written into `staged`.

        `source` is where a checkpoint was taken from. Raises RefusedArtifact if the adapter's own library cannot load
        it, if what the engine would compute is not the same, or if either is not finite.
        """
        untouched = _trace(self._model)
        if manifest.kind == "merged":
            manifest, reference = self._merge(staged, manifest)
        elif manifest.kind == "checkpoint":
            reference = self._logits(_load_checkpoint(source))
        else:
            reference = self._logits(self._with_peft(staged))
        if not torch.equal(_trace(self._model), untouched):
            del self._model  # loaded anew for the next one
            raise RagtuneError("the probe changed its own base model; nothing was published")
        ours = self._ours(staged, manifest)
        return manifest.model_copy(update={"proof": self._compare(ours, reference, manifest)})

    @cached_property
    def _model(self) -> PreTrainedModel:
        return _load(self._base.folder)

    @cached_property
    def _prompts(self) -> Tensor:
        """(prompts, tokens): cut to the length of the shortest, as PEFT's soft prompts take no padding."""
        tokenizer = load_tokenizer(self._base.folder)
        ids = [tokenizer.encode(prompt)[0] for prompt in _PROMPTS]
        length = min(_LONGEST, *map(len, ids))
        return torch.tensor([prompt[:length] for prompt in ids])

    @cached_property
    def _plain(self) -> Tensor:
        return self._logits(self._model)

    def _logits(self, model: nn.Module) -> Tensor:
        """(prompts, tokens, vocabulary) of the prompts; of virtual tokens before them nothing."""
        with torch.inference_mode():
            logits: Tensor = model(input_ids=self._prompts).logits
        return logits[:, -self._prompts.shape[1] :]

    def _with_peft(self, folder: Path) -> PeftModel:
        """The adapter as PEFT applies it. Raises RefusedArtifact if PEFT cannot load it, or leaves a tensor over."""
        stored = load_file(folder / WEIGHTS_FILE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PEFT warns of is checked below, and by the inspection
            try:
                model = self._filled(folder, stored)
                loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
            except Exception as error:
                raise RefusedArtifact(f"PEFT cannot load it: {_first_line(error)}") from error
        _check_consumed(stored, loaded, model.peft_config["default"].peft_type == PeftType.LORA)
        self._check_embeddings(stored)
        return model

    def _filled(self, folder: Path, stored: dict[str, Tensor]) -> PeftModel:
        """PEFT's model with the adapter loaded by PEFT.

        Building its layers is half of what a probe costs, so a LoRA's stay for the next one of the same config, which
        is loaded over it: the caller sees from the file that every tensor is the new one's.
        """
        written = self._base.shapes.keys() & {_parameter(name) for name in stored}
        config = PeftConfig.from_pretrained(str(folder))
        shape = json.dumps(config.to_dict(), sort_keys=True, default=sorted)
        if self._layers is not None and self._layers[0] == shape and not written:
            model = self._layers[1]
            set_peft_model_state_dict(model, stored)
            return model
        self._layers = None
        model = PeftModel.from_pretrained(_fork(self._model, written), str(folder)).eval()
        if config.peft_type == PeftType.LORA and not written and not config.modules_to_save:
            self._layers = shape, model
        return model

    def _check_embeddings(self, stored: dict[str, Tensor]) -> None:
        """PEFT saves the base model's embeddings beside a LoRA on them, and writes them back on loading.

        Raises RefusedArtifact if they are not this base model's: a head tied to them would change as well.
        """
        for name, tensor in stored.items():
            parameter = name.removeprefix("base_model.model.").replace(".base_layer.weight", ".weight")
            if name.endswith(".base_layer.weight") and not torch.equal(
                tensor.float(), self._model.get_parameter(parameter).float()
            ):
                raise RefusedArtifact(
                    f"{WEIGHTS_FILE} carries embeddings under a LoRA that are not this base model's; save it with "
                    "save_embedding_layers=False, or train them whole with modules_to_save"
                )

    def _merge(self, staged: Path, manifest: AdapterManifest) -> tuple[AdapterManifest, Tensor]:
        """Write the lane that PEFT's merging makes; returns the logits of before the merge, too."""
        model = self._with_peft(staged)
        reference = self._logits(model)
        self._layers = None  # PEFT's layers are spent once they have merged
        lane = dict(_merged_layers(model))
        for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items():
            parameter = _parameter(name)
            if parameter in self._base.shapes:
                lane[parameter] = tensor.detach().float()
        write_lane(staged, lane, "own" if f"{HEAD}.weight" in lane else "base")
        memory = 4 * sum(tensor.numel() for tensor in lane.values())
        return manifest.model_copy(update={"memory": memory}), reference

    def _ours(self, staged: Path, manifest: AdapterManifest) -> Tensor:
        if manifest.kind == "soft_prompt":
            virtual = load_soft_prompt(staged).expand(len(self._prompts), -1, -1)
            with torch.inference_mode():
                embedded = torch.cat([virtual, self._model.get_input_embeddings()(self._prompts)], dim=1)
                soft: Tensor = self._model(inputs_embeds=embedded).logits[:, virtual.shape[1] :]
            return soft
        if manifest.kind == "prefix":
            learned = load_prefix(staged, self._model.config)  # (layers, 2, virtual, heads, dim)
            count = len(self._prompts)
            pairs = [tuple(part.transpose(0, 1).expand(count, -1, -1, -1) for part in layer) for layer in learned]
            with torch.inference_mode():
                after: Tensor = self._model(input_ids=self._prompts, past_key_values=DynamicCache(pairs)).logits
            return after
        changes = load_changes(staged)
        model = _fork(self._model) if changes.replaced else self._model
        with _applied(model, changes):
            return self._logits(model)

    def _compare(self, ours: Tensor, reference: Tensor, manifest: AdapterManifest) -> Proof:
        library = "transformers" if manifest.kind == "checkpoint" else "peft"
        if not (ours.isfinite().all() and reference.isfinite().all()):
            raise RefusedArtifact("its logits are not finite: the weights overflow; the training went wrong")
        error = (ours - reference).abs().max().item()
        if error > TOLERANCE:
            raise RefusedArtifact(
                f"what would be served differs from what {library} computes by {error:.2g} in its logits; this is a "
                "fault of ragtune, or an adapter that uses something it does not know: please report it"
            )
        effect = (ours - self._plain).abs().max().item()
        return Proof(
            effect=effect,
            error=error,
            reference=f"{library} {version(library)}",
            positions=ours.shape[0] * ours.shape[1],
            inert=effect <= _NOTHING,
        )


@dataclass(frozen=True)
class _Low:
    """A hook that adds a low-rank change to what a layer puts out."""

    pair: LoraPair

    def __call__(self, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + (inputs[0] @ self.pair.a.T) @ self.pair.b.T * self.pair.scale


@dataclass(frozen=True)
class _LowEmbedding:
    """The same for the embeddings, which some models scale."""

    pair: LoraPair

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        scale = self.pair.scale * float(getattr(layer, "embed_scale", 1.0))
        return output + self.pair.a.T[inputs[0]] @ self.pair.b.T * scale


@contextmanager
def _applied(model: PreTrainedModel, changes: WeightChanges) -> Iterator[None]:
    """`model` with the changes as the engine reads them, each written out plainly. What is replaced, stays so."""
    for parameter, tensor in changes.replaced.items():
        module, _, name = parameter.rpartition(".")
        setattr(model.get_submodule(module), name, nn.Parameter(tensor.float(), requires_grad=False))
    hooks: list[tuple[nn.Module, Callable[..., Tensor]]] = []
    hooks += [(model.get_submodule(module), _Low(pair)) for module, pair in changes.pairs.items()]
    if changes.embedding is not None:
        hooks.append((model.get_input_embeddings(), _LowEmbedding(changes.embedding)))
    hooks += [(model.get_submodule(module), _adds(bias)) for module, bias in changes.added_biases.items()]
    with ExitStack() as stack:
        for layer, hook in hooks:
            stack.callback(layer.register_forward_hook(hook).remove)
        yield


def _adds(bias: Tensor) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda _layer, _inputs, output: output + bias


def _merged_layers(model: PeftModel) -> Iterable[tuple[str, Tensor]]:
    """Each layer's weight as PEFT merges it, by parameter; the model's own weights stay as they are."""
    for name, layer in model.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        linear = layer.get_base_layer()
        if not isinstance(linear, nn.Linear):
            raise RefusedArtifact(f"it changes {name}, which is no linear layer; that cannot be merged")
        kept = {part: parameter.data for part, parameter in linear.named_parameters(recurse=False)}
        for part, data in kept.items():
            getattr(linear, part).data = data.clone()
        try:
            layer.merge(safe_merge=True)
            for part, data in kept.items():  # IA3 scales the bias, too
                merged = getattr(linear, part).data
                if not torch.equal(merged, data):
                    yield f"{name.removeprefix('base_model.model.')}.{part}", merged.detach().float()
        except (ValueError, RuntimeError) as error:
            raise RefusedArtifact(f"PEFT cannot merge {name}: {_first_line(error)}") from error
        finally:
            for part, data in kept.items():
                getattr(linear, part).data = data


def _check_consumed(stored: dict[str, Tensor], loaded: dict[str, Tensor], biases: bool) -> None:
    """Raises RefusedArtifact unless PEFT holds every tensor of the file, as it is there, and no other.

    With `biases` the file may hold the base model's, trained: those PEFT writes where they belong.
    """
    aside = (".base_layer.weight", ".bias") if biases else (".base_layer.weight",)
    wanted = {name for name in stored if not name.endswith(aside)}
    missing = sorted(set(loaded) - set(stored))
    extra = sorted(wanted - set(loaded))
    if missing:
        raise RefusedArtifact(f"{WEIGHTS_FILE} is incomplete: {missing[0]} is missing ({len(missing)} in all)")
    if extra:
        raise RefusedArtifact(f"{WEIGHTS_FILE}: {extra[0]} is no part of what adapter_config.json describes")
    for name in sorted(wanted):
        if not torch.equal(loaded[name].float(), stored[name].float()):
            raise RefusedArtifact(f"{WEIGHTS_FILE}: PEFT does not take {name} as it is")


def _parameter(name: str) -> str:
    """The base model's own parameter that a tensor of a PEFT file may be for."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _trace(model: PreTrainedModel) -> Tensor:
    """Numbers from all over each of the model's tensors: whatever writes to one changes some of them."""
    spread = (tensor.detach().flatten() for tensor in model.parameters())
    return torch.cat([tensor[:: max(1, tensor.numel() // _TRACED)] for tensor in spread])


def _fork(model: PreTrainedModel, own: Iterable[str] = ()) -> PreTrainedModel:
    """A copy of the model's structure that shares all its tensors but those named in `own`."""
    copied = set(own)
    shared = [tensor for name, tensor in model.named_parameters() if name not in copied]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*shared, *model.buffers())})


def _load(folder: Path) -> PreTrainedModel:
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        attn_implementation="eager",
    )
    return model.eval().requires_grad_(False)


def _load_checkpoint(folder: Path) -> PreTrainedModel:
    """As transformers reads it. Raises RefusedArtifact if it cannot, or would read files outside the folder."""
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    try:
        named = set(json.loads(index.read_bytes())["weight_map"].values()) if index.is_file() else set()
        if outside := sorted(named - {path.name for path in folder.glob("*.safetensors")}):
            raise RefusedArtifact(f"{index.name} names {outside[0]!r}, which is no file of this checkpoint")
        return _load(folder)
    except RefusedArtifact:
        raise
    except Exception as error:
        raise RefusedArtifact(f"transformers cannot load it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
