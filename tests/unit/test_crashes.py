"""`kill -9` at random moments of publishing, flipping, rolling back and deleting: what is visible is whole.

A nursery process imports once and forks a child for each round. The child does one thing after another until it is
killed; then the home is opened anew, as a starting server does, and looked at. The seed is fixed, the moments are not:
they fall where the disk lets them.
"""

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from os import kill
from pathlib import Path

import pytest
from pydantic import BaseModel

from ragtune.mode import Mode, Ref
from ragtune.mode_aliases import ModeAliases
from ragtune.store import Database
from ragtune.versions import MANIFEST, Version, Versions

ROUNDS = 40
LONGEST = 0.3  # seconds a child lives at most
WORK = """
import hashlib, os, random, sys
from pathlib import Path
from pydantic import BaseModel
from ragtune.errors import RagtuneError
from ragtune.mode import Mode, Ref
from ragtune.mode_aliases import ModeAliases
from ragtune.store import Database
from ragtune.versions import Versions

class Manifest(BaseModel):
    sha256: str

home = Path(sys.argv[1])

def publish(adapters, draw, name):
    content = [draw.randbytes(draw.choice((100, 50_000))), b"rank = %d" % draw.randrange(10)]
    if draw.random() < 0.2:
        content = [b"the same bytes", b"again"]
    digest = hashlib.sha256(b"".join(content)).hexdigest()
    with adapters.staging() as folder:
        for file, part in zip(("adapter_model.safetensors", "adapter_config.json"), content):
            (folder / file).write_bytes(part)
        made = adapters.publish(name, folder, Manifest(sha256=digest), same=lambda other: other.sha256 == digest)
    with (home / "published").open("a") as log:
        log.write(f"{made} {made.manifest.sha256}\\n")

def work(seed):
    draw, database = random.Random(seed), Database(home / "ragtune.db")
    adapters, modes = Versions(home, database, "adapter", Manifest, apart_from="mode"), ModeAliases(database)
    while True:
        name, alias = draw.choice("ab"), draw.choice(("prod", "canary"))
        try:
            match draw.choice(("publish",) * 4 + ("alias",) * 3 + ("rollback", "back", "drop", "one", "mode", "all")):
                case "publish": publish(adapters, draw, name)
                case "alias": adapters.set_alias(name, alias, draw.choice(adapters.of(name)).number)
                case "rollback": adapters.rollback(name, alias)
                case "back": adapters.rollback(name)
                case "drop": adapters.remove_alias(name, alias)
                case "one":
                    for version in adapters.forget(Ref(name, str(draw.choice(adapters.of(name)).number))):
                        adapters.discard(version)
                case "mode": modes.set("best", Mode.parse(f"{name}@{draw.choice(adapters.of(name)).number}"))
                case "all" if draw.random() < 0.3: adapters.delete(name)
        except RagtuneError:
            pass  # nothing to roll back, or the like

for seed in sys.stdin:
    child = os.fork()
    if child == 0:
        work(int(seed))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


class Manifest(BaseModel):
    """As adapters have it: a hash over the files."""

    sha256: str


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def killed_after(nursery: "subprocess.Popen[str]", seed: int, seconds: float) -> None:
    """Let a child work for so long, then kill it, and wait until it is gone."""
    assert nursery.stdin is not None and nursery.stdout is not None
    nursery.stdin.write(f"{seed}\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    time.sleep(seconds)
    kill(child, signal.SIGKILL)
    assert nursery.stdout.readline() == "ended\n"


def digest(version: Version[Manifest]) -> str:
    files = ("adapter_model.safetensors", "adapter_config.json")
    return hashlib.sha256(b"".join((version.folder / file).read_bytes() for file in files)).hexdigest()


def check(home: Path, seen: dict[str, str]) -> int:
    """All that must hold after a restart; adds the versions to `seen`, and returns how many orphans there were."""
    database = Database(home / "ragtune.db")
    adapters = Versions(home, database, "adapter", Manifest, apart_from="mode")
    orphans = len(adapters.collect_orphans())
    visible = [version for name in adapters.names() for version in adapters.of(name)]
    for version in visible:
        assert digest(version) == version.manifest.sha256
        assert Manifest.model_validate_json((version.folder / MANIFEST).read_text()) == version.manifest
        assert seen.setdefault(str(version), version.manifest.sha256) == version.manifest.sha256, "a number used twice"
    root = home / "store" / "adapter"
    assert {*root.glob("*/*"), *root.glob(".staging/*")} == {version.folder for version in visible}
    for name in adapters.names():
        assert adapters.resolve(Ref(name)).current
        for alias, version in adapters.aliases(name).items():
            assert adapters.resolve(Ref(name, alias)) == version
    with database.read() as connection:
        moves = connection.exec_driver_sql("SELECT name, target FROM move WHERE kind = 'adapter'").all()
        last = dict(connection.exec_driver_sql("SELECT name, last FROM resource").all())
    assert {f"{name}@{target}" for name, target in moves} <= {str(version) for version in visible}
    assert all(version.number <= last[version.name] for version in visible)
    assert all(Mode.parse(alias.mode).adapters for alias in ModeAliases(database).all())
    database.close()
    return orphans


def test_after_kill_9_at_any_moment_what_is_visible_is_whole(tmp_path: Path, nursery: "subprocess.Popen[str]") -> None:
    draw, seen, orphans = random.Random(8), dict[str, str](), 0
    Database(tmp_path / "ragtune.db").close()
    for seed in range(ROUNDS):
        killed_after(nursery, seed, draw.uniform(0.005, LONGEST))
        orphans += check(tmp_path, seen)
    for line in (tmp_path / "published").read_text().splitlines():
        version, sha256 = line.split()
        assert seen.setdefault(version, sha256) == sha256, "a number used twice"
    print(f"{len(seen)} versions, {orphans} orphans collected in {ROUNDS} kills")
    assert len(seen) > ROUNDS / 4  # the children did get somewhere
    assert orphans > 0  # and were hit in the middle of something
