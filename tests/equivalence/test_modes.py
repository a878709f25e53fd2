"""Every kind of mode, in every way it can be computed, equals transformers and PEFT computing it alone.

On tiny random models of every family, and, marked slow, on the embedded SmolLM2.
"""

import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from service.engine.attention import attend
from service.engine.messages import AdapterRef
from tests.equivalence.harness import KINDS, MODES, Comparison, Setup


def compare(setup: Setup, requests: dict[str, tuple[str, list[int]]], what: str) -> None:
    """All requests' outcomes against the reference."""
    rig, reference = setup
    comparison = Comparison()
    for request_id, (mode, prompt) in requests.items():
        comparison.add(reference, mode, prompt, rig.outcomes[request_id])
    comparison.report(what)


@pytest.mark.parametrize("mode", [*MODES, *KINDS])
def test_each_mode_alone_equals_peft(setup: Setup, mode: str) -> None:
    rig, _ = setup
    rig.restart()
    (prompt,) = rig.prompts(1, seed=1, shortest=30)
    rig.admit("one", mode, prompt, new=12)
    rig.run()
    compare(setup, {"one": (mode, prompt)}, mode)


def test_adapters_change_the_logits(setup: Setup) -> None:
    """Otherwise all the equalities above and below would be empty."""
    rig, reference = setup
    (prompt,) = rig.prompts(1, seed=1, shortest=30)
    base = reference.logits("base", prompt)[-1]
    for mode in MODES[1:]:
        assert (reference.logits(mode, prompt)[-1] - base).abs().max() > 100 * 1e-4, mode


def test_a_random_mix_of_all_modes_equals_each_alone(setup: Setup) -> None:
    rig, _ = setup
    rig.restart()
    texts = rig.prompts(30, seed=2)
    requests = {str(i): (MODES[i % len(MODES)], prompt) for i, prompt in enumerate(texts)}
    order = list(requests)
    random.Random(3).shuffle(order)
    for request_id in order:
        rig.admit(request_id, *requests[request_id], new=6)
    rig.run()
    compare(setup, requests, "mixed")


@pytest.mark.parametrize("step_tokens", [3, 17])
def test_chunked_prefill_equals_whole(setup: Setup, step_tokens: int) -> None:
    rig, _ = setup
    rig.restart(step_tokens=step_tokens)
    requests = {
        mode: (mode, prompt) for mode, prompt in zip(MODES, rig.prompts(len(MODES), seed=4, shortest=20), strict=True)
    }
    for request_id, (mode, prompt) in requests.items():
        rig.admit(request_id, mode, prompt, new=3)
    rig.run()
    compare(setup, requests, f"chunks of {step_tokens}")


def test_cached_equals_uncached(setup: Setup) -> None:
    rig, _ = setup
    rig.restart()
    (shared, *tails) = rig.prompts(6, seed=5, shortest=40)
    for mode in MODES:
        requests = {f"{mode}-{i}": (mode, shared + tail) for i, tail in enumerate(tails)}
        for request_id, (_, prompt) in requests.items():
            rig.admit(request_id, mode, prompt, new=3)
        rig.run()
        compare(setup, requests, f"cached {mode}")
        cached = [rig.outcomes[request_id].cached for request_id in requests]
        assert cached[0] == 0 and min(cached[1:]) >= 16, cached


def test_joining_and_leaving_midway_changes_nobody(setup: Setup) -> None:
    rig, _ = setup
    rig.restart(step_tokens=40)
    chance = random.Random(6)
    requests = {str(i): (MODES[i % len(MODES)], prompt) for i, prompt in enumerate(rig.prompts(24, seed=7))}
    leaving = set(chance.sample(list(requests), 8))
    for request_id, (mode, prompt) in requests.items():
        rig.admit(request_id, mode, prompt, new=chance.randint(2, 10))
        for _ in range(chance.randint(0, 2)):
            rig.step()
        if request_id in leaving:
            rig.engine.cancel(request_id)
    rig.run()
    compare(setup, {r: requests[r] for r in requests if r not in leaving}, "joined and left")
    assert rig.engine.stats().kv_blocks_used == 0


def test_a_bad_request_fails_alone_and_its_neighbours_are_unharmed(setup: Setup) -> None:
    rig, _ = setup
    rig.restart()
    requests = {str(i): (MODES[i], prompt) for i, prompt in enumerate(rig.prompts(5, seed=8))}
    for request_id, (mode, prompt) in requests.items():
        rig.admit(request_id, mode, prompt, new=4)
    rig.admit("bad", "base", [5, 6, 7], new=4)
    bad = rig.engine._sequences["bad"]
    bad.tokens[1] = rig.runner.vocab_size + 1  # what admission would have refused: the whole step fails
    rig.run()
    failed = rig.outcomes.pop("bad").failed
    assert failed is not None and failed.code == "engine_error"
    compare(setup, requests, "beside a failure")


def test_a_failed_request_leaves_alone_what_its_neighbours_share_with_it(setup: Setup) -> None:
    rig, _ = setup
    rig.restart()
    (shared,) = rig.prompts(1, seed=11, shortest=60)
    rig.admit("running", "base", shared, new=8)
    while not rig.outcomes["running"].tokens:
        rig.step()
    rig.admit("bad", "base", [*shared, 5, 6, 7], new=4)
    rig.engine._sequences["bad"].tokens[-1] = rig.runner.vocab_size + 1
    rig.run()
    assert rig.outcomes.pop("bad").failed is not None
    rig.admit("later", "base", [*shared, 9, 9], new=4)
    rig.run()
    assert rig.outcomes["later"].cached >= 48
    compare(setup, {"running": ("base", shared), "later": ("base", [*shared, 9, 9])}, "sharing with a failure")


def test_an_adapter_that_overflows_fails_alone_and_leaves_nothing_behind(setup: Setup, tmp_path: Path) -> None:
    rig, _ = setup
    rig.restart()
    shutil.copytree(rig.refs["plain"].folder, tmp_path / "overflowing")
    weights = tmp_path / "overflowing" / "adapter_model.safetensors"
    save_file({name: tensor * 1e30 for name, tensor in load_file(weights).items()}, weights)
    rig.refs["overflowing"] = AdapterRef("overflowing@1", weights.parent, "lora")
    requests = {str(i): (MODES[i], prompt) for i, prompt in enumerate(rig.prompts(5, seed=9))}
    for request_id, (mode, prompt) in requests.items():
        rig.admit(request_id, mode, prompt, new=6)
    rig.admit("bad", "overflowing", rig.prompts(1, seed=10)[0], new=6)
    rig.run()
    failed = rig.outcomes.pop("bad").failed
    assert failed is not None and failed.code == "engine_error" and "finite" in failed.message
    compare(setup, requests, "beside an overflow")
    assert all(store.isfinite().all() for store in (*rig.runner.store.keys, *rig.runner.store.values))


def test_an_unknown_argument_of_the_attention_is_refused() -> None:
    q = torch.zeros(1, 2, 3, 4)
    with pytest.raises(TypeError, match="s_aux"):
        attend(torch.nn.Module(), q, q, q, None, scaling=1.0, step=None, s_aux=q)  # type: ignore[arg-type]


def test_an_unload_that_waits_is_not_forgotten_when_another_request_comes(setup: Setup) -> None:
    rig, _ = setup
    rig.restart()
    rig.admit("one", "narrow", rig.prompts(1, seed=12)[0], new=4)
    while not rig.outcomes["one"].tokens:
        rig.step()
    assert rig.engine.unload(rig.refs["narrow"].key) == []
    rig.admit("two", "narrow", rig.prompts(1, seed=13)[0], new=4)
    rig.run()
    assert [len(rig.outcomes[name].tokens) for name in ("one", "two")] == [4, 4]
    assert rig.refs["narrow"].key not in rig.engine.stats().adapters


def test_unloading_waits_for_its_last_sequence_and_frees_all_bytes(setup: Setup, tmp_path: Path) -> None:
    rig, _ = setup
    rig.restart()
    rig.admit("one", "plain", rig.prompts(1, seed=10)[0], new=4)
    while not rig.outcomes["one"].tokens:
        rig.step()
    before = rig.engine.stats().adapter_bytes
    assert rig.engine.unload(rig.refs["plain"].key) == []
    rig.run()
    assert rig.refs["plain"].key not in rig.engine.stats().adapters
    assert before - rig.engine.stats().adapter_bytes > 0
    assert len(rig.outcomes["one"].tokens) == 4
