"""`kill -9` of a training at random moments, from its first import to its publishing: nothing is half registered.

After each kill the job reads as failed and can be resumed, no version is there that is not whole, and at last one that
is left alone publishes.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.content import check_content
from adapters.manifest import AdapterManifest
from ragtune.jobs import Jobs
from ragtune.store import Database
from ragtune.versions import MANIFEST, Version, Versions
from tests.tiny import save_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ROUNDS = int(os.environ.get("KILLS", "12"))
RECIPE = 'name = "short"\nmethod = "{method}"\ntrain = "train.jsonl"\nepochs = 40\nbatch_tokens = 200\nseed = {seed}\n'


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_after_kill_9_of_a_training_nothing_is_half_registered_and_the_next_one_publishes(
    tmp_path: Path, method: str
) -> None:
    home, draw = tmp_path / "home", random.Random(method)
    environment = os.environ | {"RAGTUNE_HOME": str(home), "RAGTUNE_BASE_MODEL": str(save_tiny(tmp_path / "tiny"))}
    environment |= {"RAGTUNE_CACHE": str(tmp_path / "cache"), "RAGTUNE_TRAINING_THREADS": "1"}
    lines = (f'{{"id": "{n}", "query": "{n} + {n}?", "answers": ["yes"]}}\n' for n in range(12))
    (tmp_path / "train.jsonl").write_text("".join(lines))
    jobs = Jobs(Database(home / "ragtune.db"), home)
    whole = run(tmp_path, environment, method, seed=-1)
    for number in range(ROUNDS):
        killed = run(tmp_path, environment, method, seed=number, kill_after=draw.uniform(0.3, 1.0) * whole)
        (last,) = jobs.newest(1)
        if killed is not None:  # it was quicker
            assert last.state == "succeeded"
        elif last.state != "succeeded":  # or killed in its last words
            assert last.state == "failed" and last.error is not None and last.error.code == "interrupted"
        check(home)
    run(tmp_path, environment, method, seed=ROUNDS - 1)
    (last,) = jobs.newest(1)
    assert last.state == "succeeded" and last.result is not None
    assert last.result["version"] == str(check(home)[-1])


def run(
    folder: Path, environment: dict[str, str], method: str, seed: int, kill_after: float | None = None
) -> float | None:
    """Train; the seconds that took, None if it was killed."""
    (folder / "short.toml").write_text(RECIPE.format(method=method, seed=seed))
    began = time.monotonic()
    command = [sys.executable, "-P", "-m", "ragtune", "train", "short.toml", "--alias", "prod"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.wait(kill_after) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return None
    return time.monotonic() - began


def check(home: Path) -> list[Version[AdapterManifest]]:
    """The versions, all of which are whole; none stands beside them, and the name and its alias mean one of them."""
    adapters = Versions(home, Database(home / "ragtune.db"), "adapter", AdapterManifest)
    adapters.collect_orphans()
    versions = adapters.of("short")
    for version in versions:
        manifest = AdapterManifest.model_validate_json((version.folder / MANIFEST).read_bytes())
        assert manifest == version.manifest
        check_content(version.folder, manifest.kind, manifest.sha256, manifest.lane_sha256 or "")
    assert set((home / "store" / "adapter" / "short").iterdir()) == {version.folder for version in versions}
    assert sum(version.current for version in versions) == 1
    assert adapters.aliases("short").keys() == {"prod"}
    return versions
