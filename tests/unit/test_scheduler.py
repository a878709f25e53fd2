"""The scheduler and the block store are plain Python: these tests drive them without a model."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.wire import Sampling
from service.engine.kv_blocks import KVBlocks
from service.engine.messages import AdapterRef, Generation, TokenEvent
from service.engine.scheduler import Batch, Scheduler
from service.engine.sequence import Sequence


def adapter(name: str, kind: str = "lora", virtual: int = 0) -> AdapterRef:
    return AdapterRef(name, Path(name), kind, virtual)  # type: ignore[arg-type]


def sequence(
    name: str,
    prompt: int | tuple[int, ...] = 10,
    new: int = 4,
    weights: AdapterRef | None = None,
    prefix: AdapterRef | None = None,
    namespace: str = "",
) -> Sequence:
    tokens = prompt if isinstance(prompt, tuple) else tuple(hash((name, i)) % 1000 for i in range(prompt))
    sampling = Sampling(max_tokens=new, ignore_eos=True)
    return Sequence(Generation(name, tokens, sampling, weights, prefix, namespace=namespace), admitted=0.0)


def scheduler(blocks: int = 64, step_tokens: int = 32, running: int = 8, cache: bool = True) -> Scheduler:
    return Scheduler(KVBlocks(blocks, 4), step_tokens, running, cache)


def step(scheduler: Scheduler, loaded: tuple[str, ...] = ()) -> Batch:
    """One engine step whose model always says token 7."""
    batch = scheduler.next_batch(loaded)
    scheduler.complete(batch, {piece.sequence: TokenEvent(7) for piece in batch.slices if piece.samples})
    return batch


def shape(batch: Batch) -> list[tuple[str, int, int]]:
    return [(piece.sequence.id, piece.start, piece.count) for piece in batch.slices]


def test_a_long_prompt_is_computed_in_chunks_beside_decoding_rows() -> None:
    s = scheduler(step_tokens=10)
    s.add(sequence("short", 5))
    assert shape(step(s)) == [("short", 0, 5)]
    s.add(sequence("long", 21))
    assert shape(step(s)) == [("short", 5, 1), ("long", 0, 9)]
    assert shape(step(s)) == [("short", 6, 1), ("long", 9, 9)]
    assert shape(step(s)) == [("short", 7, 1), ("long", 18, 3)]


def test_a_sequence_ends_at_max_tokens_and_gives_back_all_blocks() -> None:
    s = scheduler()
    one = sequence("one", 5, new=3)
    s.add(one)
    for _ in range(3):
        step(s)
    assert one.finish_reason == "length"
    assert one.tokens[5:] == [7, 7, 7]
    assert s.running == [] and s.blocks.free == s.blocks.total


def test_a_stop_token_ends_a_sequence_and_is_not_part_of_it() -> None:
    generation = Generation("one", (1, 2, 3), Sampling(max_tokens=9), eos_ids=(7,))
    s, one = scheduler(), Sequence(generation, 0.0)
    s.add(one)
    step(s)
    assert (one.finish_reason, one.tokens, one.generated) == ("stop", [1, 2, 3], 1)


def test_groups_take_turns_so_a_flood_cannot_starve_another() -> None:
    s = scheduler(running=2)
    flood = adapter("flood")
    for i in range(10):
        s.add(sequence(f"flood-{i}", 4, weights=flood))
    s.add(sequence("rare", 4))
    step(s, ("flood",))
    assert {one.id for one in s.running} == {"flood-0", "rare"}


def test_admission_waits_for_one_that_does_not_fit_instead_of_starving_it() -> None:
    s = scheduler(blocks=8, cache=False)  # 32 positions
    s.add(sequence("first", 10, new=3))
    s.add(sequence("large", 20, new=5))
    entered = [one.id for one in step(s).admitted]
    s.add(sequence("small", 4, new=1, weights=adapter("a")))  # would fit at once, but it is the large one's turn
    entered += [one.id for _ in range(10) for one in step(s, ("a",)).admitted]
    assert entered == ["first", "large", "small"]


def test_a_sequence_waits_until_its_adapter_is_in_memory_while_others_pass() -> None:
    s = scheduler()
    s.add(sequence("waits", weights=adapter("a")))
    s.add(sequence("base"))
    assert [name for name, _, _ in shape(step(s))] == ["base"]
    assert "waits" in [name for name, _, _ in shape(step(s, ("a",)))]


def test_an_equal_beginning_is_taken_over_but_its_last_position_is_computed() -> None:
    s = scheduler()
    prompt = tuple(range(12))
    s.add(sequence("first", prompt, new=1))
    step(s)
    s.add(sequence("second", prompt, new=1))
    assert shape(s.next_batch(())) == [("second", 8, 4)]


def test_the_same_beginning_is_computed_once_even_if_it_arrives_twice_at_once() -> None:
    s = scheduler()
    prompt = tuple(range(12))
    s.add(sequence("first", prompt))
    s.add(sequence("second", prompt))
    assert shape(step(s)) == [("first", 0, 12)]
    assert shape(step(s)) == [("first", 12, 1), ("second", 8, 4)]


def test_if_the_one_being_waited_for_is_cancelled_the_next_computes_it() -> None:
    s = scheduler(step_tokens=4)
    first, prompt = sequence("first", tuple(range(12))), tuple(range(12))
    s.add(first)
    s.add(sequence("second", prompt))
    step(s)
    s.remove(first)
    assert shape(step(s)) == [("second", 4, 4)]


@pytest.mark.parametrize(
    "other",
    [
        {"weights": adapter("lora@1#aa")},
        {"weights": adapter("lora@2#bb")},
        {"prefix": adapter("soft@1#cc", "soft_prompt", 4)},
        {"namespace": "tenant"},
    ],
)
def test_kv_is_never_shared_between_weights_versions_prefixes_or_tenants(other: dict[str, object]) -> None:
    s = scheduler()
    prompt = tuple(range(12))
    loaded = ("lora@1#aa", "lora@2#bb", "soft@1#cc", "lora@1#zz")
    s.add(sequence("first", prompt, new=1, weights=adapter("lora@1#zz")))
    step(s, loaded)
    second = sequence("second", prompt, new=1, **other)  # type: ignore[arg-type]
    s.add(second)
    step(s, loaded)
    assert second.cached == 0


def test_a_soft_prompt_is_shared_by_requests_with_different_texts() -> None:
    s = scheduler()
    soft = adapter("soft", "soft_prompt", 8)
    s.add(sequence("first", 5, new=1, prefix=soft))
    step(s, ("soft",))
    second = sequence("second", 5, new=1, prefix=soft)
    s.add(second)
    step(s, ("soft",))
    assert second.cached == 8


def test_a_learned_prefix_is_never_scheduled() -> None:
    s = scheduler()
    s.add(sequence("one", 5, prefix=adapter("prefix", "prefix", 6)))
    assert shape(step(s, ("prefix",))) == [("one", 6, 5)]


def test_without_prefix_cache_nothing_is_taken_over() -> None:
    s = scheduler(cache=False)
    for name in ("first", "second"):
        one = sequence(name, tuple(range(12)), new=1)
        s.add(one)
        step(s)
        assert one.cached == 0


arrivals = st.lists(
    st.tuples(
        st.integers(1, 40),  # prompt length
        st.integers(1, 12),  # new tokens
        st.sampled_from(["", "a", "b"]),  # weights
        st.integers(0, 3),  # which of four beginnings
        st.integers(0, 6),  # steps before it arrives
        st.booleans(),  # cancelled after a few steps
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(arrivals, st.integers(14, 60), st.integers(8, 24), st.booleans())
def test_whatever_arrives_everything_ends_and_no_block_is_lost(
    arriving: list[tuple[int, int, str, int, int, bool]], blocks: int, step_tokens: int, cache: bool
) -> None:
    s = scheduler(blocks=blocks, step_tokens=step_tokens, running=4, cache=cache)
    everyone = []
    for i, (length, new, weights, beginning, wait, cancelled) in enumerate(arriving):
        prompt = tuple(beginning * 1000 + p for p in range(length))
        one = sequence(str(i), prompt, new, adapter(weights) if weights else None)
        everyone.append((one, cancelled))
        s.add(one)
        for _ in range(wait):
            owned = [block for other in s.running for block in other.table[other.cached // 4 :]]
            assert len(owned) == len(set(owned)), "two sequences write to one block"
            batch = step(s, ("a", "b"))
            assert sum(piece.count for piece in batch.slices) <= step_tokens
        if cancelled:
            s.remove(one)
    for _ in range(400):
        step(s, ("a", "b"))
    assert all(cancelled or one.finish_reason == "length" for one, cancelled in everyone)
    assert s.blocks.free == s.blocks.total
    assert s.running == [] and s.waiting == 0
