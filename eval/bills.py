"""What the arms of the service cost once: the training of their adapters, the building of their index."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pydantic import BaseModel, JsonValue

from eval.client import Service
from eval.runfile import Indexed, Trained
from ragtune.mode import Mode

_N = TypeVar("_N", int, float)


async def trained(service: Service, mode: Mode) -> Trained | None:
    """The bill of the mode's adapters, all together; None without one. What one of them does not record, all lack.

    Seconds, bytes, steps, examples and price are sums, memory and the number of rates the largest. The recipe is that
    of the one adapter; of several, one by each name, empty for one that records none.
    """
    bills = [_bill(await service.get(f"/v1/adapters/{ref}", _Adapter)) for ref in mode.adapters]
    if len(bills) < 2:
        return bills[0] if bills else None
    data = [bill.data for bill in bills]
    recipes: dict[str, JsonValue] = {str(ref.name): bill.recipe for ref, bill in zip(mode.adapters, bills, strict=True)}
    return Trained(
        seconds=_together(sum, [bill.seconds for bill in bills]),
        peak_memory=_together(max, [bill.peak_memory for bill in bills]),
        artifact_bytes=_together(sum, [bill.artifact_bytes for bill in bills]),
        price=_together(sum, [bill.price for bill in bills]),
        steps=_together(sum, [bill.steps for bill in bills]),
        rates=_together(max, [bill.rates for bill in bills]),
        examples=_together(sum, [bill.examples for bill in bills]),
        data=None if None in data else "+".join(str(one) for one in data),
        recipe=recipes,
    )


async def indexed(service: Service, mode: Mode) -> Indexed | None:
    """What the mode's index took; None without one."""
    if mode.index is None:
        return None
    index = await service.get(f"/v1/indexes/{mode.index}", _Index)
    return Indexed(
        version=index.version,
        seconds=index.manifest.paid_seconds,
        update_seconds=index.manifest.seconds,
        passages=index.manifest.passages,
    )


class _SearchedRate(BaseModel):
    learning_rate: float


class _Bill(BaseModel):
    wall_seconds: float
    measuring_seconds: float = 0.0
    peak_memory: int | None = None
    artifact_bytes: int | None = None
    price: float | None = None
    searched: tuple[_SearchedRate, ...] = ()

    @property
    def share(self) -> float:
        """Of the time: what made the adapter, and did not only measure it."""
        return 1 - min(1.0, self.measuring_seconds / self.wall_seconds) if self.wall_seconds else 1.0


class _Training(BaseModel):
    seconds: float
    steps: int | None = None
    examples: int | None = None
    data_sha256: str | None = None
    recipe: dict[str, JsonValue] = {}
    bill: _Bill | None = None


class _AdapterManifest(BaseModel):
    bytes: int | None = None
    training: _Training | None = None


class _Adapter(BaseModel):
    manifest: _AdapterManifest


class _IndexManifest(BaseModel):
    paid_seconds: float | None = None
    seconds: float | None = None
    passages: int | None = None


class _Index(BaseModel):
    version: str
    manifest: _IndexManifest


def _bill(adapter: _Adapter) -> Trained:
    """Of one adapter: one made elsewhere has a size and no more."""
    training, size = adapter.manifest.training, adapter.manifest.bytes
    if training is None:
        return Trained(artifact_bytes=size)
    bill = training.bill
    return Trained(
        seconds=bill.wall_seconds * bill.share if bill else training.seconds,
        peak_memory=bill.peak_memory if bill else None,
        artifact_bytes=bill.artifact_bytes if bill else size,
        price=bill.price * bill.share if bill and bill.price is not None else None,
        steps=training.steps,
        rates=max(1, len(bill.searched)) if bill else None,
        examples=training.examples,
        data=training.data_sha256,
        recipe=training.recipe,
    )


def _together(how: Callable[[Iterable[_N]], _N], values: Sequence[_N | None]) -> _N | None:
    """Of all values; None if one is missing."""
    known = [value for value in values if value is not None]
    return how(known) if len(known) == len(values) else None
