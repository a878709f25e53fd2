"""Check a PEFT folder against the base model, and write down what it is.

Everything that can be told from headers, numbers and names is found here, without torch and without PEFT; what only
computing can tell, `adapters.proof` finds. Fine-tuned checkpoints are `adapters.checkpoint`'s.
"""

from collections.abc import Mapping
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.content import content_hash
from adapters.lora import EMBEDDING, HEAD, LoraKeys, check_fit, check_replacement, sort_keys
from adapters.manifest import AdapterKind, AdapterManifest, HeadOf, Method, TrainingRecord
from adapters.peft_config import CONFIG_FILE, LoraSettings, MergedSettings, PeftConfig, read_config
from adapters.prompts import check_prompt, expected_width
from adapters.stored_tensors import WEIGHTS_FILE, StoredTensor, read_stored
from ragtune.errors import RefusedArtifact

Shape = tuple[int, ...]
_PREFIX = "base_model."
_MAGNITUDE = ".lora_magnitude_vector"
_KINDS: dict[str, tuple[AdapterKind, Method]] = {
    "LORA": ("lora", "lora"),
    "IA3": ("merged", "ia3"),
    "LOHA": ("merged", "loha"),
    "LOKR": ("merged", "lokr"),
    "OFT": ("merged", "oft"),
    "ADALORA": ("merged", "adalora"),
    "VERA": ("merged", "vera"),
    "PROMPT_TUNING": ("soft_prompt", "prompt_tuning"),
    "P_TUNING": ("soft_prompt", "p_tuning"),
    "PREFIX_TUNING": ("prefix", "prefix_tuning"),
}


def inspect(folder: Path, base: BaseModelInfo) -> AdapterManifest:
    """What the adapter in `folder` is. Raises RefusedArtifact with the reason if it is broken or does not fit `base`.

    An adapter whose training recorded its base model must have been trained on this very one; without a record its
    shapes must fit, and the manifest says `base: unverified`.
    """
    config = read_config(folder)
    record = read_record(folder, base)
    tensors = read_stored(folder)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    try:
        ranks, targets, head = _check(config, shapes, base)
        virtual_tokens = _virtual_tokens(config, shapes, base)
    except RefusedArtifact as error:
        raise RefusedArtifact(f"{error.message}{_origin(config, base)}") from error
    kind, method = kind_of(config)
    return AdapterManifest(
        kind=kind,
        method=method,
        base="unverified" if record is None else "verified",
        base_name=config.base_name if record is None else record.base_id,
        checked_against=base.fingerprint,
        architecture=base.architecture,
        sha256=content_hash(folder, kind),
        bytes=(folder / WEIGHTS_FILE).stat().st_size,
        parameters=_parameters(tensors),
        ranks=ranks,
        target_modules=targets,
        virtual_tokens=virtual_tokens,
        head=head,
        memory=4 * sum(tensor.size for tensor in tensors.values()),
        peft_version=config.peft_version,
        training=record,
    )


def kind_of(config: PeftConfig) -> tuple[AdapterKind, Method]:
    """How the engine serves it, and what it was trained by."""
    settings = config.settings
    if isinstance(settings, LoraSettings) and settings.use_dora:
        return "merged", "dora"
    return _KINDS[config.peft_type]


def read_record(folder: Path, base: BaseModelInfo) -> TrainingRecord | None:
    """The record of its training, if there is one. Raises RefusedArtifact if it was trained on another base model."""
    record = TrainingRecord.read(folder)
    if record is not None and record.base_fingerprint != base.fingerprint:
        raise RefusedArtifact(
            f"it was trained on the base model {record.base_id} (fingerprint {record.base_fingerprint[:12]}), "
            f"this server runs {base.id} ({base.fingerprint[:12]})"
        )
    return record


def _check(
    config: PeftConfig, shapes: Mapping[str, Shape], base: BaseModelInfo
) -> tuple[tuple[int, ...], tuple[str, ...], HeadOf]:
    """(distinct ranks, last names of the layers changed, whose head)."""
    settings = config.settings
    if isinstance(settings, LoraSettings):
        keys = _lora(shapes, settings, base)
        pairs = {**keys.pairs, **({EMBEDDING: keys.embedding} if keys.embedding else {})}
        ranks = tuple(sorted({shapes[pair.a][0] for pair in pairs.values()}))
        return ranks, _last([*pairs, *(name.rpartition(".")[0] for name in keys.replaced)]), _head(keys.replaced)
    if isinstance(settings, MergedSettings):
        modules, replaced = _merged(shapes, settings, base)
        return ((settings.r,) if settings.r else ()), _last(modules), _head(replaced)
    return (), (), "base"


def _lora(shapes: Mapping[str, Shape], settings: LoraSettings, base: BaseModelInfo) -> LoraKeys:
    """The keys of a LoRA; those of a DoRA are a LoRA's and one magnitude for each layer."""
    magnitudes = {key for key in shapes if settings.use_dora and key.endswith(_MAGNITUDE)}
    plain = {key: shape for key, shape in shapes.items() if key not in magnitudes}
    keys = sort_keys(plain, settings)
    check_fit(keys, plain, settings, base.shapes)
    if settings.use_dora:
        if keys.embedding is not None:
            raise RefusedArtifact("DoRA on the embeddings cannot be served; leave embed_tokens out of target_modules")
        wanted = {f"base_model.model.{module}{_MAGNITUDE}": (shapes[pair.b][0],) for module, pair in keys.pairs.items()}
        if wanted != {key: shapes[key] for key in magnitudes}:
            raise RefusedArtifact(f"{WEIGHTS_FILE}: each layer of a DoRA has one magnitude for each of its outputs")
    return keys


def _merged(
    shapes: Mapping[str, Shape], settings: MergedSettings, base: BaseModelInfo
) -> tuple[list[str], dict[str, Shape]]:
    """(modules changed, whole parameters carried). That each tensor is consumed is PEFT's to say, when it merges."""
    widest = max(max(shape) for name, shape in base.shapes.items() if name.startswith("model.layers."))
    if settings.widest > widest:
        raise RefusedArtifact(
            f"{CONFIG_FILE}: a rank or block of {settings.widest} is larger than any layer of this base model"
        )
    modules: list[str] = []
    replaced: dict[str, Shape] = {}
    for key, shape in shapes.items():
        name = key.removeprefix(f"{_PREFIX}model.")
        if name in base.shapes:
            check_replacement(name, shape, base.shapes)
            replaced[name] = shape
            continue
        module = next((m for m in _modules_around(name) if f"{m}.weight" in base.shapes), None)
        if module is not None and not module.startswith("model.layers."):
            raise RefusedArtifact(f"it changes {module}; of this kind only layers inside model.layers.* can be served")
        if module is None and name == key and not key.startswith((f"{_PREFIX}vera_A", f"{_PREFIX}vera_B")):
            raise RefusedArtifact(f"{WEIGHTS_FILE}: {key} belongs to no layer of this base model")
        modules += [module] if module else []
    if not modules:
        raise RefusedArtifact(f"{WEIGHTS_FILE} holds no tensor that changes a layer of this base model")
    return modules, replaced


def _modules_around(name: str) -> list[str]:
    """`a.b.c` to a.b, a."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def _virtual_tokens(config: PeftConfig, shapes: Mapping[str, Shape], base: BaseModelInfo) -> int:
    if isinstance(config.settings, (LoraSettings, MergedSettings)):
        return 0
    return check_prompt(shapes, config, expected_width(config.peft_type, base.config))


def _head(replaced: Mapping[str, object]) -> HeadOf:
    """PEFT gives a module that it saves a copy of its own, so a tied head stays the base model's or becomes its own."""
    return "own" if f"{HEAD}.weight" in replaced else "base"


def _parameters(tensors: Mapping[str, StoredTensor]) -> int:
    """Trained numbers: the base model's own embeddings, which PEFT saves beside a LoRA on them, are not."""
    return sum(tensor.size for name, tensor in tensors.items() if not name.endswith(".base_layer.weight"))


def _last(modules: list[str]) -> tuple[str, ...]:
    return tuple(sorted({module.rpartition(".")[2] for module in modules}))


def _origin(config: PeftConfig, base: BaseModelInfo) -> str:
    if config.base_name in (None, "", base.id):
        return ""
    return f" (the adapter names {config.base_name!r} as its base model, this is {base.id})"
