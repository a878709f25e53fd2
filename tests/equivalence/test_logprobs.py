"""Log-probabilities of new tokens and of prompts equal those of transformers and PEFT, however they were computed."""

import pytest
import torch

from ragtune.wire import Sampling
from service.engine.messages import Logprobs
from tests.equivalence.harness import MODES, TOLERANCE, Outcome, Reference, Setup

BEST = 3
NEW = Sampling(temperature=1.0, seed=5, max_tokens=6, ignore_eos=True, logprobs=BEST)
SCORE = Sampling(max_tokens=0, logprobs=BEST, score_prompt=True)


def worst(told: list[Logprobs], expected: torch.Tensor, ids: list[int]) -> float:
    """The largest difference from `expected` (n, vocabulary) log-probabilities, of `ids` and of the best, and by how
    much a best one that was told falls short of the BEST."""
    assert len(told) == len(expected) == len(ids)
    differences = [0.0]
    for logprobs, row, token in zip(told, expected, ids, strict=True):
        assert [value for _, value in logprobs.best] == sorted((v for _, v in logprobs.best), reverse=True)
        assert len(logprobs.best) == BEST
        differences.append(abs(logprobs.chosen - row[token].item()))
        differences += [abs(value - row[other].item()) for other, value in logprobs.best]
        differences.append(row.topk(BEST).values[-1].item() - min(value for _, value in logprobs.best))
    return max(differences)


def check(reference: Reference, mode: str, prompt: list[int], outcome: Outcome, what: str) -> None:
    """Scores of the prompt if there are any, and the new tokens' own, against the reference."""
    assert outcome.failed is None, outcome.failed
    ids = prompt + outcome.tokens
    logits = reference.logits(mode, ids)
    expected = logits.log_softmax(dim=-1)
    told = [event.logprobs for event in outcome.events]
    assert all(told) or not told
    first = len(prompt) - len(outcome.scores)
    scores = [*outcome.scores, *(each for each in told if each is not None)]
    rows = expected[first - 1 : len(ids) - 1]
    own = reference.rounding(mode, ids, logits)
    difference = worst(scores, rows, ids[first:])
    print(f"{what} {mode}: {len(scores)} positions within {difference:.1e}")
    assert difference <= TOLERANCE + own


def test_of_new_tokens_in_a_batch_of_all_modes_with_and_without_the_cache(setup: Setup) -> None:
    rig, reference = setup
    rig.restart()
    prompts = dict(zip(MODES, rig.prompts(len(MODES), seed=11, shortest=40), strict=True))
    for what in ("uncached", "cached"):
        for mode, prompt in prompts.items():
            rig.admit(f"{what} {mode}", mode, prompt, sampling=NEW)
        rig.run()
    for mode, prompt in prompts.items():
        for what in ("uncached", "cached"):
            check(reference, mode, prompt, rig.outcomes[f"{what} {mode}"], what)
            cached = rig.outcomes[f"{what} {mode}"].cached
            assert (cached > 0) == (what == "cached"), (mode, what, cached)


@pytest.mark.parametrize("step_tokens", [512, 7])
def test_of_a_prompt_whole_or_in_chunks_after_others_have_cached_it(setup: Setup, step_tokens: int) -> None:
    rig, reference = setup
    rig.restart(step_tokens=step_tokens)
    prompts = dict(zip(MODES, rig.prompts(len(MODES), seed=12, shortest=33), strict=True))
    for mode, prompt in prompts.items():
        rig.admit(f"cache {mode}", mode, prompt, new=1)
    rig.run()
    for mode, prompt in prompts.items():
        rig.admit(f"score {mode}", mode, prompt, sampling=SCORE)
        rig.admit(f"both {mode}", mode, prompt, sampling=NEW.model_copy(update={"score_prompt": True}))
    rig.run()
    for mode, prompt in prompts.items():
        for what in ("score", "both"):
            outcome = rig.outcomes[f"{what} {mode}"]
            assert len(outcome.scores) == len(prompt) - 1
            check(reference, mode, prompt, outcome, what)
        assert rig.outcomes[f"score {mode}"].tokens == []
        finish = rig.finished[f"score {mode}"]
        assert (finish.reason, finish.completion_tokens) == ("length", 0)  # type: ignore[attr-defined]


def test_scoring_a_prompt_of_one_token_gives_no_score(setup: Setup) -> None:
    rig, _ = setup
    rig.restart()
    rig.admit("one", "soft", [5], sampling=SCORE)
    rig.run()
    assert rig.outcomes["one"].scores == () and rig.outcomes["one"].failed is None


def test_equal_prompts_share_their_prefill(setup: Setup) -> None:
    rig, _ = setup
    rig.restart()
    (prompt,) = rig.prompts(1, seed=13, shortest=65, longest=66)
    for number in range(4):
        rig.admit(f"choice {number}", "plain", prompt, new=3)
    rig.run()
    cached = [rig.outcomes[f"choice {number}"].cached for number in range(4)]
    assert cached == [0, 64, 64, 64]
