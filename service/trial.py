"""A trial: the real engine, in the process of the training, answers with an adapter before that is published.

What loads in PEFT might still not be served as it was trained. So the engine that serves, with its own kernels, lanes
and KV, is started on the staged folder once, and what it says is compared with what PEFT says.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterManifest
from ragtune.errors import EngineFault, RefusedArtifact
from ragtune.settings import Settings
from ragtune.wire import Sampling
from service.catalog import staged_reference
from service.engine.engine import Engine
from service.engine.messages import AdapterRef, Failed, Generation, Progress
from service.engine.process import start

NEW_TOKENS = 16
_PREFIXES = ("soft_prompt", "prefix")
_POLL = 0.002  # seconds between two looks while the adapter is read
_LEAST_KV = 256  # positions


def answer(
    settings: Settings, base: BaseModelInfo, folder: Path, manifest: AdapterManifest, prompts: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The 16 greedy tokens that the engine continues each prompt with under the adapter in `folder`; the end of
    sequence is one like any other.

    Raises RefusedArtifact if it cannot be loaded or a prompt does not fit, EngineFault if it cannot be computed.
    """
    ref = staged_reference("trial", folder, manifest)
    longest = manifest.virtual_tokens + max(map(len, prompts)) + NEW_TOKENS
    enough = max(_LEAST_KV, 2 * longest * len(prompts))  # blocks are not filled to their end
    threads = settings.training_threads or 1  # 0 would bind them to processors that the service's engine has
    engine, _ = start(settings.model_copy(update={"kv_tokens": enough, "threads": threads}), base.folder)
    return _run(engine, [_generation(f"trial-{at}", prompt, ref) for at, prompt in enumerate(prompts)])


def _generation(name: str, prompt: Sequence[int], ref: AdapterRef) -> Generation:
    return Generation(
        name,
        tuple(prompt),
        Sampling(max_tokens=NEW_TOKENS, ignore_eos=True),
        weights=None if ref.kind in _PREFIXES else ref,
        prefix=ref if ref.kind in _PREFIXES else None,
    )


def _run(engine: Engine, generations: Sequence[Generation]) -> list[list[int]]:
    answers: dict[str, list[int]] = {generation.request_id: [] for generation in generations}
    events = [event for generation in generations for event in engine.admit(generation)]
    while True:
        for event in events:
            if isinstance(event, Failed):
                kind = EngineFault if event.code == "engine_error" else RefusedArtifact
                raise kind(f"the engine cannot serve what was trained: {event.message}")
            if isinstance(event, Progress):
                answers[event.request_id] += [token.token_id for token in event.tokens]
        if not engine.busy:
            return list(answers.values())
        steps = engine.steps
        events = engine.step()
        if engine.steps == steps and not events:
            time.sleep(_POLL)
