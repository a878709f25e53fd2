"""What an answer says about itself: where an adapter is served otherwise than trained, or changes nothing."""

from collections.abc import Iterator

from adapters.manifest import TrainingRecord
from service.catalog import Configuration

_BUILT_IN = "the built-in layout"


def remarks(configuration: Configuration, rendering: str | None) -> list[str]:
    """A sentence for every adapter that does nothing, and for every difference between how one was trained and how this
    mode uses it.

    `rendering` is the hash of how this mode renders prompts; None for a raw prompt, which nothing renders.
    """
    inert = [
        f"{adapter} changes nothing: with it every answer is what it would be without"
        for adapter in configuration.adapters
        if adapter.manifest.proof is not None and adapter.manifest.proof.inert
    ]
    return inert + [
        f"{adapter} was trained {difference}"
        for adapter in configuration.adapters
        if adapter.manifest.training is not None
        for difference in _differences(adapter.manifest.training, configuration.versions, rendering)
    ]


def _differences(record: TrainingRecord, used: dict[str, str], rendering: str | None) -> Iterator[str]:
    if record.index is not None and record.index != used.get("index"):
        now = f"uses {used['index']}" if "index" in used else "retrieves none"
        yield f"with passages of {record.index}, this mode {now}"
    if rendering is None or rendering == record.rendering_hash:
        return
    if record.template != used.get("template"):
        yield f"with {_template(record.template)}, this mode uses {_template(used.get('template'))}"
    else:
        yield "on prompts rendered otherwise than here: by another version of ragtune, or with another chat template"


def _template(name: str | None) -> str:
    return _BUILT_IN if name is None else f"template {name}"
