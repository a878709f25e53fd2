"""`kill -9` of a whole service at random moments of registering, flipping, rolling back, pinning and deleting.

After each restart every version it shows is complete and its hash right, every alias means something, a request for
each name is answered, and nothing half-made is there.
"""

import os
import random
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from adapters.content import check_content
from adapters.manifest import AdapterManifest
from ragtune.errors import UnknownName
from ragtune.store import Database
from ragtune.versions import Versions
from tests.equivalence.harness import ADAPTERS, make_adapter, make_checkpoint
from tests.killable import killable_service
from tests.tiny import save_tiny, tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROUNDS = int(os.environ.get("KILLS", "30"))
KINDS = ("plain", "narrow", "dressed", "ia3", "soft", "prefix", "partial")
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model, and two adapters of every kind to register."""
    folder = tmp_path_factory.mktemp("killed")
    save_tiny(folder / "tiny")
    for kind in KINDS:
        for number, scale in enumerate((0.1, 0.2)):
            make = make_adapter if kind in ADAPTERS else make_checkpoint
            make(tiny_model(), kind, folder / "made" / f"{kind}-{number}", scale)
    return folder


def work(url: str, folder: Path, seed: int, done: list[str]) -> None:
    """One change after another until the service is gone."""
    draw = random.Random(seed)
    with httpx.Client(base_url=url, timeout=60) as client, suppress(httpx.TransportError):
        while True:
            name, adapters = draw.choice(NAMES), f"/v1/adapters/{draw.choice(NAMES)}"
            what = draw.choice(("put",) * 4 + ("alias",) * 2 + ("rollback", "delete", "pin", "one", "mode"))
            if what == "put":
                path = folder / "made" / f"{draw.choice(KINDS)}-{draw.randrange(2)}"
                answer = client.put(f"/v1/adapters/{name}", json={"path": str(path)})
            elif what == "alias":
                answer = client.put(f"{adapters}/aliases/prod", json={"version": draw.randrange(1, 6)})
            elif what == "rollback":
                answer = client.post(f"{adapters}/rollback", json={})
            elif what == "delete":
                answer = client.delete(adapters)
            elif what == "pin":
                answer = client.put(f"{adapters}/pin", json={})
            elif what == "one":
                answer = client.delete(f"{adapters}@{draw.randrange(1, 6)}")
            else:
                answer = client.put("/v1/modes/best", json={"mode": name})
            assert answer.status_code < 500, answer.text
            done.append(f"{what} {answer.status_code}")


def check(url: str, home: Path) -> int:
    """Everything that must hold after a restart; returns how many versions there are."""
    versions = Versions(home, Database(home / "ragtune.db"), "adapter", AdapterManifest, apart_from="mode")
    folders = set((home / "store" / "adapter").glob("[!.]*/*"))
    found = [version for name in versions.names() for version in versions.of(name)]
    assert {version.folder for version in found} == folders
    assert not list((home / "store" / "adapter" / ".staging").glob("*"))
    for version in found:
        manifest = version.manifest
        assert manifest.proof is not None
        check_content(version.folder, manifest.kind, manifest.sha256, manifest.lane_sha256 or "")
    with httpx.Client(base_url=url, timeout=60) as client:
        for name in versions.names():
            assert len([version for version in versions.of(name) if version.current]) == 1
            for mode in (name, *(f"{name}@{alias}" for alias in versions.aliases(name))):
                answer = client.post("/v1/query", json={"query": "Who?", "mode": mode, "max_tokens": 2})
                assert answer.status_code == 200, answer.text
        for name in NAMES:
            with suppress(UnknownName):
                assert client.get(f"/v1/adapters/{name}/versions").status_code == (200 if versions.of(name) else 404)
    return len(found)


def test_after_kill_9_at_any_moment_a_service_shows_only_what_is_whole(folder: Path) -> None:
    chance, done, versions = random.Random(0), [], []
    for seed in range(ROUNDS):
        with killable_service(folder, adapter_roots=folder / "made") as (url, process):
            versions.append(check(url, folder / "home"))
            worker = threading.Thread(target=work, args=(url, folder, seed, done))
            worker.start()
            time.sleep(chance.uniform(0.1, 8.0) if seed % 3 else chance.uniform(4.0, 6.0))  # the prover takes seconds
            process.kill()
            worker.join(60)
            assert not worker.is_alive()
    with killable_service(folder, adapter_roots=folder / "made") as (url, _):
        versions.append(check(url, folder / "home"))
    kinds = {what: sum(line.startswith(what) for line in done) for what in ("put 200", "alias 200", "rollback 200")}
    print(f"{ROUNDS} kills, {len(done)} changes ({kinds}), up to {max(versions)} versions")
    assert kinds["put 200"] > ROUNDS and max(versions) > 3
    shutil.rmtree(folder / "home")
