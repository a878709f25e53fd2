"""Adapters come and go under a budget: nobody's answer changes, nobody in use is dropped, nobody waits for ever."""

import pytest

from service.engine.engine import Engine
from tests.equivalence.harness import Comparison, Setup

LORAS = ("plain", "patterned", "narrow")


@pytest.fixture
def small(setup: Setup) -> Engine:
    """An engine with room for the largest adapter asked for here, and little else."""
    rig, _ = setup
    engine = rig.restart()
    largest = max(rig.runner.read(rig.refs[name]).bytes for name in (*LORAS, "soft"))
    engine.memory.residents.budget = int(1.2 * largest)
    return engine


def used(setup: Setup) -> set[str]:
    """The adapters of what runs now."""
    rig, _ = setup
    return {key for sequence in rig.engine.scheduler.running for key in sequence.group if key}


def test_answers_stay_the_same_while_adapters_take_turns(setup: Setup, small: Engine) -> None:
    rig, reference = setup
    modes = ("plain", "narrow", "base", "patterned", "soft")
    prompts = rig.prompts(15, seed=21)
    requests = {str(i): (modes[i % 5], prompt) for i, prompt in enumerate(prompts)}
    for request_id, (mode, prompt) in requests.items():
        rig.admit(request_id, mode, prompt, new=4)
    while small.busy:
        rig.step()
        assert used(setup) <= set(rig.runner.loaded)
        assert small.memory.residents.total <= small.memory.residents.budget
    rig.run()
    assert small.memory.residents.evictions
    comparison = Comparison()
    for request_id, (mode, prompt) in requests.items():
        comparison.add(reference, mode, prompt, rig.outcomes[request_id])
    comparison.report("taking turns")


def test_a_rare_adapter_is_served_between_a_stream_of_others(setup: Setup, small: Engine) -> None:
    """There is always another request for the adapter in memory; the rare one comes to its turn all the same."""
    rig, _ = setup
    number = 0
    rig.admit("often-0", "plain", rig.prompts(1, seed=22)[0], new=6)
    while "rare" not in rig.outcomes or not rig.outcomes["rare"].tokens:
        rig.step()
        if sum(1 for s in small._sequences.values() if rig.refs["plain"].key in s.group) < 3:
            number += 1
            rig.admit(f"often-{number}", "plain", rig.prompts(1, seed=22 + number)[0], new=6)
        if number == 5 and "rare" not in rig.outcomes:
            rig.admit("rare", "narrow", rig.prompts(1, seed=23)[0], new=3)
        assert number < 5000, "the rare adapter is starved"
    rig.run()
    assert all(outcome.failed is None for outcome in rig.outcomes.values())


def test_a_pinned_adapter_stays(setup: Setup, small: Engine) -> None:
    rig, _ = setup
    rig.take(small.load(rig.refs["narrow"], pinned=True))
    rig.run()
    for index, mode in enumerate(("plain", "patterned", "soft")):
        small.memory.residents.budget += 1 if index else small.memory.residents.total
        rig.admit(mode, mode, rig.prompts(1, seed=24)[0], new=2)
        rig.run()
    assert rig.refs["narrow"].key in rig.runner.loaded and small.memory.residents.evictions


def test_an_adapter_larger_than_the_budget_is_refused_with_both_numbers(setup: Setup, small: Engine) -> None:
    rig, _ = setup
    rig.admit("huge", "full", rig.prompts(1, seed=25)[0], new=2)
    rig.admit("fine", "base", rig.prompts(1, seed=26)[0], new=2)
    rig.run(tolerant=True)
    failed = rig.outcomes["huge"].failed
    assert failed is not None and failed.code == "refused_artifact" and "RAGTUNE_ADAPTER_MEMORY" in failed.message
    assert len(rig.outcomes["fine"].tokens) == 2


def test_two_adapters_that_cannot_be_in_memory_together_are_refused_at_once(setup: Setup, small: Engine) -> None:
    rig, _ = setup
    sizes = [rig.runner.read(rig.refs[name]).bytes for name in ("plain", "soft")]
    small.memory.residents.budget = sum(sizes) - 1
    rig.admit("both", "plain+soft", rig.prompts(1, seed=29)[0], new=2)
    rig.admit("fine", "plain", rig.prompts(1, seed=30)[0], new=2)
    rig.run()
    failed = rig.outcomes["both"].failed
    assert failed is not None and failed.code == "refused_artifact" and str(sum(sizes)) in failed.message
    assert len(rig.outcomes["fine"].tokens) == 2


def test_pinned_adapters_that_leave_no_room_are_named_as_the_reason(setup: Setup, small: Engine) -> None:
    rig, _ = setup
    rig.take(small.load(rig.refs["plain"], pinned=True))
    rig.run()
    small.memory.residents.budget = small.memory.residents.total + 1
    rig.admit("squeezed", "narrow", rig.prompts(1, seed=31)[0], new=2)
    rig.run(tolerant=True)
    failed = rig.outcomes["squeezed"].failed
    assert failed is not None and "unpin" in failed.message


def test_registering_takes_no_place_from_those_in_use(setup: Setup, small: Engine) -> None:
    rig, _ = setup
    rig.admit("running", "plain", rig.prompts(1, seed=27)[0], new=12)
    while not rig.outcomes["running"].tokens:
        rig.step()
    rig.take(small.load(rig.refs["patterned"]))
    rig.run()
    assert rig.refs["patterned"].key not in rig.runner.loaded and not small.memory.residents.evictions


def test_removing_every_adapter_frees_every_byte(setup: Setup) -> None:
    rig, _ = setup
    engine = rig.restart()
    for index, mode in enumerate(("plain", "narrow", "dressed", "dora", "partial", "full", "soft", "prefix")):
        rig.admit(f"{index}", mode, rig.prompts(1, seed=28 + index)[0], new=3)
    rig.run()
    before = engine.stats()
    assert before.adapter_bytes > 0 and before.stacked_bytes > 0
    for key in before.adapters:
        rig.take(engine.unload(key))
    after = engine.stats()
    assert (after.adapters, after.adapter_bytes, after.stacked_bytes) == ((), 0, 0)
