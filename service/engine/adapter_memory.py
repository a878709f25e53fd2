"""Which adapters are in memory, which are on their way, and who makes room for whom. No torch, and the clock is given.

Adapters are read one at a time, between the steps; the one being read, or read and without a place yet, comes on top of
the budget. What the oldest waiting request lacks is read first, and what it has is never taken from it, so it does come
to run. The others take turns:

- room is made by those nobody asks for, least recently used first;
- after some patience also by those that are only waited for;
- and then the least recently used of the running are `held`: no request for them is admitted until they have left.

What no request waits for, as when an adapter is registered, gets no place that others would have to make.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ragtune.errors import RagtuneError
from service.engine.messages import AdapterRef, LoadDone, ToServer, UnloadDone
from service.engine.residents import Residents
from service.engine.sequence import Sequence

log = logging.getLogger("ragtune.engine")
_MOMENT = 0.005  # seconds of reading between two steps
_PATIENCE = 1.0  # seconds an adapter that was read waits for a place before others have to make one


class Tensors(Protocol):
    """An adapter's tensors."""

    @property
    def ref(self) -> AdapterRef:
        """Whose."""

    @property
    def bytes(self) -> int:
        """Memory they take."""


T = TypeVar("T", bound=Tensors)


class Shelf(Protocol[T]):
    """Where adapters are kept: the runner."""

    @property
    def loaded(self) -> Mapping[str, T]:
        """Those in memory by key."""

    def check(self, ref: AdapterRef) -> None:
        """Look at its files; any thread may. Raises RefusedArtifact."""

    def build(self, ref: AdapterRef) -> Generator[None, None, T]:
        """Read it in pieces of a few milliseconds, between steps. Raises RefusedArtifact."""

    def add(self, loaded: T) -> None:
        """Make it usable by the next batch."""

    def remove(self, key: str) -> int:
        """Drop one that nobody uses; the bytes freed."""


@dataclass(frozen=True)
class Arrived(Generic[T]):
    """An adapter that was read and has no place in memory yet, and since when."""

    tensors: T
    at: float


@dataclass
class Reading(Generic[T]):
    """An adapter on its way: its files are looked at beside the steps, then it is built between them."""

    ref: AdapterRef
    checked: Future[None]
    building: Generator[None, None, T]


@dataclass
class Settled:
    """What came of a look: what the server should hear, and which waiting sequences cannot be served."""

    events: list[ToServer] = field(default_factory=list)
    refused: list[tuple[Sequence, str]] = field(default_factory=list)


class AdapterMemory(Generic[T]):
    """The adapters of one engine, under a budget of bytes. `held` is for the scheduler."""

    def __init__(self, shelf: Shelf[T], loader: Executor, clock: Callable[[], float], budget: int) -> None:
        self.residents = Residents(budget)
        self.held: Collection[str] = ()
        self._shelf = shelf
        self._loader = loader
        self._clock = clock
        self._wanted: OrderedDict[str, AdapterRef] = OrderedDict()
        self._reading: Reading[T] | None = None
        self._arrived: Arrived[T] | None = None
        self._unloading: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether another look has something to do."""
        return bool(self._wanted or self._reading or self._arrived or self._unloading)

    def want(self, ref: AdapterRef, *, pinned: bool = False) -> list[ToServer]:
        """Have an adapter read when its turn comes; LoadDone follows, at once if it is in memory.

        A `pinned` one stays until it is unpinned or unloaded.
        """
        events: list[ToServer] = []
        if pinned:
            if ref.key in self.residents and (reason := self._no_room(ref.key, self.residents.size(ref.key))):
                return [*events, LoadDone(ref.key, reason)]
            self.residents.pinned.add(ref.key)
        if ref.key in self._shelf.loaded:
            events.append(LoadDone(ref.key))
        elif ref.key not in self._coming():
            self._wanted[ref.key] = ref
        return events

    def keep(self, key: str) -> list[ToServer]:
        """Let one that was about to leave stay: the same bytes were registered again."""
        if key not in self._unloading:
            return []
        self._unloading.discard(key)
        return [UnloadDone(key, 0)]

    def unpin(self, key: str) -> None:
        """From now on it may leave memory when it is not used."""
        self.residents.pinned.discard(key)

    def unload(self, key: str) -> list[ToServer]:
        """Drop an adapter when its last sequence has ended; UnloadDone follows with a later look, if not at once."""
        self.unpin(key)
        if key not in self._shelf.loaded and key not in self._coming():
            return [UnloadDone(key, 0)]
        self._unloading.add(key)
        return []

    def settle(self, running: Iterable[Sequence], waiting: Collection[Sequence]) -> Settled:
        """One look at everything: what was read gets a place, what is wanted next is read, what is done leaves."""
        settled, self.held = Settled(), ()
        used = _keys(running)
        asked = _keys(waiting) - used
        oldest = min((s for s in waiting if _keys([s])), key=lambda s: s.admitted, default=None)
        if oldest is not None and (reason := self._too_large_together(oldest)):
            settled.refused.append((oldest, reason))
            return settled
        self._read_on(waiting, settled)
        if self._arrived is not None:
            self._find_place(self._arrived, used, asked, oldest, waiting, settled)
        if self._reading is None and self._arrived is None:
            self._read_next(oldest, settled)
        self._finish_unloading(used | asked, settled)
        return settled

    def _read_on(self, waiting: Collection[Sequence], settled: Settled) -> None:
        """Go on reading for a moment; when all of it is there, it has arrived."""
        reading = self._reading
        if reading is None or not reading.checked.done():
            return
        ref, until = reading.ref, self._clock() + _MOMENT
        try:
            reading.checked.result()
            next(reading.building)
            while self._clock() < until:
                next(reading.building)
        except StopIteration as done:
            self._reading = None
            if reason := self._no_room(ref.key, done.value.bytes):
                self._refuse(ref.key, reason, waiting, settled)
            else:
                self._arrived = Arrived(done.value, self._clock())
        except Exception as error:
            self._reading = None
            own = next((other for other in _refs(waiting) if other.key == ref.key and other.folder != ref.folder), None)
            if own is not None and not ref.folder.is_dir():  # read from where it was staged, and published meanwhile
                self._wanted[own.key] = own
                return
            known = isinstance(error, RagtuneError)
            log.warning("adapter %s could not be loaded: %s", ref.key, error, exc_info=not known)
            self._refuse(ref.key, str(error) if known else "the adapter could not be loaded", waiting, settled)

    def _find_place(
        self,
        arrived: Arrived[T],
        used: set[str],
        asked: set[str],
        oldest: Sequence | None,
        waiting: Collection[Sequence],
        settled: Settled,
    ) -> None:
        key, size = arrived.tensors.ref.key, arrived.tensors.bytes
        if reason := self._no_room(key, size):  # others were pinned meanwhile
            self._arrived = None
            self._refuse(key, reason, waiting, settled)
            return
        first = set() if oldest is None else _keys([oldest])
        patient = self._clock() - arrived.at < _PATIENCE
        victims = self.residents.victims(size, used | first | (asked if patient else set()))
        if victims is not None:
            self._place(arrived.tensors, victims, waiting)
            settled.events.append(LoadDone(key))
        elif key not in asked and key not in self.residents.pinned:
            self._arrived = None
            settled.events.append(LoadDone(key))
        elif key not in first and self._lacking(oldest):
            self._arrived = None  # the oldest goes first; this one is read again after it
            self._wanted[key] = arrived.tensors.ref
        elif not patient:
            self.held = self.residents.victims(size, first) or ()

    def _place(self, tensors: T, victims: list[str], waiting: Collection[Sequence]) -> None:
        for victim in victims:
            log.info("adapter %s leaves memory to make room for %s", victim, tensors.ref.key)
            self._drop(victim)
            self.residents.evictions += 1
        self._arrived = None
        self._shelf.add(tensors)
        self.residents.add(tensors.ref.key, tensors.bytes)
        self._wanted |= {ref.key: ref for ref in _refs(waiting) if ref.key in victims}

    def _read_next(self, oldest: Sequence | None, settled: Settled) -> None:
        lacking = self._lacking(oldest)
        while lacking or self._wanted:
            ref = lacking[0] if lacking else next(iter(self._wanted.values()))
            self._wanted.pop(ref.key, None)
            if ref.key not in self._shelf.loaded:
                checked = self._loader.submit(self._shelf.check, ref)
                self._reading = Reading(ref, checked, self._shelf.build(ref))
                return
            settled.events.append(LoadDone(ref.key))

    def _finish_unloading(self, in_use: set[str], settled: Settled) -> None:
        for key in [key for key in self._unloading if key not in in_use and key not in self._coming()]:
            self._unloading.discard(key)
            settled.events.append(UnloadDone(key, self._drop(key) if key in self._shelf.loaded else 0))

    def _refuse(self, key: str, reason: str, waiting: Collection[Sequence], settled: Settled) -> None:
        self.unpin(key)
        settled.events.append(LoadDone(key, reason))
        settled.refused += [(sequence, reason) for sequence in waiting if key in sequence.group]

    def _drop(self, key: str) -> int:
        if key in self.residents:
            self.residents.remove(key)
        return self._shelf.remove(key)

    def _no_room(self, key: str, size: int) -> str | None:
        """Why an adapter of this size can never have a place as things are, or None."""
        room = self.residents.free_beside_pinned([key])
        if size <= room:
            return None
        return (
            f"it takes {size} bytes of memory, and there are {room} for all adapters that are not pinned; raise "
            "RAGTUNE_ADAPTER_MEMORY, or unpin some"
        )

    def _too_large_together(self, sequence: Sequence) -> str | None:
        """Why a sequence's two adapters can never be in memory together, as far as their sizes are known."""
        arrived = {self._arrived.tensors.ref.key: self._arrived.tensors.bytes} if self._arrived else {}
        needed = sum(arrived.get(key) or self.residents.size(key) for key in sequence.group)
        room = self.residents.free_beside_pinned(sequence.group)
        if needed <= room:
            return None
        return (
            f"its adapters take {needed} bytes together, and there are {room} in memory; raise RAGTUNE_ADAPTER_MEMORY"
        )

    def _lacking(self, sequence: Sequence | None) -> list[AdapterRef]:
        """The adapters a sequence waits for."""
        return [] if sequence is None else [ref for ref in _refs([sequence]) if ref.key not in self._shelf.loaded]

    def _coming(self) -> set[str]:
        """Keys of those wanted, being read, or without a place."""
        reading = {self._reading.ref.key} if self._reading else set()
        arrived = {self._arrived.tensors.ref.key} if self._arrived else set()
        return self._wanted.keys() | reading | arrived


def _refs(sequences: Iterable[Sequence]) -> Iterator[AdapterRef]:
    for sequence in sequences:
        yield from (ref for ref in (sequence.generation.weights, sequence.generation.prefix) if ref is not None)


def _keys(sequences: Iterable[Sequence]) -> set[str]:
    return {key for sequence in sequences for key in sequence.group if key}
