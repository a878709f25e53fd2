"""Who gets a place in memory, in any order of events: nobody waits for ever, nobody in use is dropped."""

from collections.abc import Generator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.errors import RefusedArtifact
from service.engine.adapter_memory import AdapterMemory
from service.engine.messages import AdapterRef, Generation, LoadDone, UnloadDone
from service.engine.sequence import Sequence

SIZES = {"a": 3, "b": 4, "c": 6, "p": 2, "q": 5}
WEIGHTS, PREFIXES = ("a", "b", "c"), ("p", "q")


@dataclass(frozen=True)
class Stone:
    """An adapter that is nothing but heavy."""

    ref: AdapterRef

    @property
    def bytes(self) -> int:
        """By its name."""
        return SIZES[self.ref.key]


@dataclass
class Heap:
    """Where stones lie."""

    stones: dict[str, Stone] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    @property
    def loaded(self) -> Mapping[str, Stone]:
        """All of them."""
        return self.stones

    def check(self, ref: AdapterRef) -> None:
        """Raises RefusedArtifact for a broken one."""
        if ref.key in self.broken:
            raise RefusedArtifact(f"{ref.key} is broken")

    def build(self, ref: AdapterRef) -> Generator[None, None, Stone]:
        """In as many pieces as it is heavy."""
        for _ in range(SIZES[ref.key]):
            yield
        return Stone(ref)

    def add(self, loaded: Stone) -> None:
        """On the heap."""
        self.stones[loaded.ref.key] = loaded

    def remove(self, key: str) -> int:
        """Off the heap."""
        return self.stones.pop(key).bytes


class AtOnce(Executor):
    """Reads when asked, in the asker's own thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Done already."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


def ref(key: str) -> AdapterRef:
    return AdapterRef(key, Path(key), "prefix" if key in PREFIXES else "lora")


@dataclass
class World:
    """A memory, and sequences that run for some looks once their adapters are there."""

    budget: int
    slots: int = 2
    now: float = 0.0
    heap: Heap = field(default_factory=Heap)
    running: dict[Sequence, int] = field(default_factory=dict)
    waiting: dict[Sequence, int] = field(default_factory=dict)
    events: list[object] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = AdapterMemory(self.heap, AtOnce(), self.clock, self.budget)

    def clock(self) -> float:
        """Every look at it takes a little time, so that reading pauses now and then."""
        self.now += 0.002
        return self.now

    def ask(self, *keys: str, looks: int = 3) -> Sequence:
        """A request with these adapters."""
        weights = next((ref(key) for key in keys if key in WEIGHTS), None)
        prefix = next((ref(key) for key in keys if key in PREFIXES), None)
        sequence = Sequence(Generation(f"{len(self.waiting)}", (1,), weights=weights, prefix=prefix), self.now)
        self.waiting[sequence] = looks
        for key in keys:
            self.memory.want(ref(key))
        return sequence

    def look(self) -> None:
        """As a step of the engine: settle, admit who can run, let time pass."""
        settled = self.memory.settle(list(self.running), list(self.waiting))
        self.events += settled.events
        for sequence, reason in settled.refused:
            self.waiting.pop(sequence, None)
            self.refused.append(reason)
        for sequence in list(self.waiting):
            keys = [key for key in sequence.group if key]
            ready = all(key in self.heap.stones and key not in self.memory.held for key in keys)
            if ready and len(self.running) < self.slots:
                self.running[sequence] = self.waiting.pop(sequence)
        for sequence in self.running:
            assert all(key in self.heap.stones for key in sequence.group if key), "dropped while in use"
        self.running = {sequence: looks - 1 for sequence, looks in self.running.items() if looks > 1}
        assert self.memory.residents.total <= self.budget
        assert self.memory.residents.total == sum(stone.bytes for stone in self.heap.stones.values())
        self.now += 0.3

    def run(self, looks: int = 400) -> None:
        """Until nothing is left to do."""
        for _ in range(looks):
            if not (self.running or self.waiting or self.memory.busy):
                return
            self.look()
        raise AssertionError(f"still waiting: {[s.group for s in self.waiting]}, busy {self.memory.busy}")


EVENT = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from([*WEIGHTS, ""]), st.sampled_from([*PREFIXES, ""]), st.integers(1, 6)),
    st.tuples(st.just("load"), st.sampled_from(sorted(SIZES))),
    st.tuples(st.just("pin"), st.sampled_from(sorted(SIZES))),
    st.tuples(st.just("unpin"), st.sampled_from(sorted(SIZES))),
    st.tuples(st.just("unload"), st.sampled_from(sorted(SIZES))),
    st.tuples(st.just("look"), st.integers(1, 5)),
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(budget=st.integers(1, 14), slots=st.integers(1, 4), events=st.lists(EVENT, max_size=30))
def test_whatever_comes_everything_comes_to_an_end(budget: int, slots: int, events: list[tuple[Any, ...]]) -> None:
    world, loads, unloads = World(budget, slots), 0, 0
    for event in events:
        match event:
            case "ask", weights, prefix, looks:
                world.ask(*[key for key in (weights, prefix) if key], looks=looks)
            case "load", key:
                world.events += world.memory.want(ref(key))
                loads += 1
            case "pin", key:
                world.events += world.memory.want(ref(key), pinned=True)
                loads += 1
            case "unpin", key:
                world.memory.unpin(key)
            case "unload", key:
                world.events += world.memory.unload(key)
                unloads += 1
            case "look", times:
                for _ in range(times):
                    world.look()
    world.run()
    told = {event.key for event in world.events if isinstance(event, LoadDone)}
    assert {event[1] for event in events if event[0] in ("load", "pin")} <= told
    assert bool(unloads) <= any(isinstance(event, UnloadDone) for event in world.events)


def test_what_the_oldest_request_lacks_is_read_before_what_came_first(  # and its other adapter is not taken from it
) -> None:
    world = World(budget=8, slots=1)
    world.ask("a", looks=8)
    world.look()
    world.look()
    world.memory.want(ref("c"))
    both = world.ask("b", "p", looks=2)
    world.ask("c", looks=2)
    world.run()
    assert both not in world.waiting and not world.refused


def test_two_pins_that_do_not_fit_together_are_told_apart_and_block_nobody() -> None:
    world = World(budget=9)
    for key in ("c", "q"):
        world.events += world.memory.want(ref(key), pinned=True)
    world.ask("p")
    world.run()
    outcomes = {event.key: event.error for event in world.events if isinstance(event, LoadDone)}
    assert outcomes["c"] is None and "unpin" in str(outcomes["q"])
    assert world.memory.residents.pinned == {"c"} and not world.refused


def test_only_one_adapter_is_ever_beside_the_budget() -> None:
    world = World(budget=6, slots=1)
    for key in ("a", "b", "c", "p", "q"):
        world.ask(key)
    world.look()
    assert len(world.heap.stones) == 0 and world.memory._reading is not None
    world.run()
    assert not world.refused


def test_a_broken_adapter_fails_its_requests_and_is_not_pinned() -> None:
    world = World(budget=9)
    world.heap.broken.add("a")
    world.events += world.memory.want(ref("a"), pinned=True)
    world.ask("a")
    world.ask("b")
    world.run()
    assert world.refused == ["a is broken"] and world.memory.residents.pinned == set() and "b" in world.heap.stones


@pytest.mark.parametrize("again", [True, False])
def test_registering_the_same_bytes_again_keeps_what_was_about_to_leave(again: bool) -> None:
    world = World(budget=9)
    world.ask("a", looks=5)
    world.look()
    world.look()
    assert world.memory.unload("a") == []
    if again:
        assert world.memory.keep("a") == [UnloadDone("a", 0)]
    world.run()
    assert ("a" in world.heap.stones) is again
