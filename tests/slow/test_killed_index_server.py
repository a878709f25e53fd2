"""`kill -9` of a whole service, or of the worker that builds, while an index is uploaded to, built and deleted from.

After each restart everything is asked over HTTP: every version is whole and answers, the documents are those that were
acknowledged, what was deleted is found in no version by no search, no job is at work for ever, and a build brings what
is there. Workers outlive the service that started them; what they publish after it is gone must be right, too.
"""

import hashlib
import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest

from indexer.store import Indexes
from ragtune.store import Database
from tests.index_work import content
from tests.killable import killable_service
from tests.tiny import save_tiny
from tests.whole_index import NOTHING, check_whole, stamp_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="workers are found in /proc"),
]
ROUNDS = int(os.environ.get("KILLS", "20"))
INDEX = "letters"
PAGES = tuple(f"page-{number}.md" for number in range(6))
NOTES = tuple(f"note-{number}.txt" for number in range(5))
METHODS = ("dense", "lexical", "hybrid")


@dataclass
class Known:
    """What the service has acknowledged, by the stamps of contents. Two threads work, each on documents of its own."""

    docs: Path
    stored: dict[str, set[int]] = field(default_factory=lambda: {name: {NOTHING} for name in NOTES})  # what it may be
    sent: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    hashes: dict[int, str] = field(default_factory=lambda: {NOTHING: ""})
    deleted: set[int] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    stamps: Iterator[int] = field(default_factory=lambda: count(1))

    def content(self, name: str) -> str:
        """A new one for this document."""
        stamp = next(self.stamps)
        text = content(stamp, random.Random(stamp), markdown=name.endswith(".md"))
        self.sent[name].add(stamp)
        self.hashes[stamp] = hashlib.sha256(text.encode()).hexdigest()
        return text


@dataclass
class Visitor:
    """A client that works until the service is gone."""

    url: str
    known: Known
    draw: random.Random

    def upload_for_ever(self) -> None:
        """Upload, mostly waiting until it can be found, and delete."""
        with httpx.Client(base_url=self.url, timeout=300) as self.client, suppress(httpx.TransportError):
            while True:
                name = self.draw.choice(NOTES)
                if self.draw.random() < 0.6:
                    self.upload(name, wait=self.draw.random() < 0.4)
                else:
                    self.delete(name)
                time.sleep(self.draw.uniform(0, 0.3))

    def build_for_ever(self) -> None:
        """Change the folder, build, delete what is gone from it, and roll back."""
        with httpx.Client(base_url=self.url, timeout=300) as self.client, suppress(httpx.TransportError):
            while True:
                for name in self.draw.sample(PAGES, 2):
                    (self.known.docs / name).write_text(self.known.content(name))
                if not self.build(delete=False):
                    continue
                what = self.draw.choice(("build", "sync", "remove", "rollback"))
                if what == "sync":
                    self.sync(self.draw.choice(PAGES))
                elif what == "remove":
                    self.remove(self.draw.choice(PAGES))
                elif what == "rollback":
                    self.ask("rollback", "POST", "rollback", {200, 422}, json={})

    def upload(self, name: str, *, wait: bool) -> None:
        """What is answered with a version is found in it."""
        text = self.known.content(name)
        stamp = stamp_of(text)
        self.known.stored[name].add(stamp)
        path = f"documents/{name}{'?wait=true' if wait else ''}"
        answer = self.ask("waited" if wait else "upload", "PUT", path, {200, 202, 503}, content=text.encode())
        self.known.stored[name] = {stamp}  # 503: its build was killed, what was uploaded is there
        if answer.status_code == httpx.codes.OK and (version := answer.json()["version"]):
            body = {"query": f"stamp{stamp}", "retrieval": "lexical"}
            found = self.client.post(f"/v1/indexes/{version}/search", json=body)
            if found.status_code == httpx.codes.OK and stamp not in {
                stamp_of(p["text"]) for p in found.json()["passages"]
            }:
                self.known.surprises.append(f"{name} is not in {version}: {found.text}")

    def delete(self, name: str) -> None:
        """From its acknowledgement on, nothing of it may be found."""
        before = set(self.known.sent[name])
        self.known.stored[name].add(NOTHING)
        self.ask("delete", "DELETE", f"documents/{name}", {200, 404})
        self.known.stored[name] = {NOTHING}
        self.known.deleted |= before

    def sync(self, name: str) -> None:
        """A page that was just built leaves the folder, and is deleted with that."""
        (self.known.docs / name).unlink(missing_ok=True)
        if self.build(delete=True):
            self.known.deleted |= self.known.sent[name] if name in self.built else set()

    def remove(self, name: str) -> None:
        """The same by hand."""
        (self.known.docs / name).unlink(missing_ok=True)
        self.ask("delete", "DELETE", f"documents/{name}", {200, 404})
        self.known.deleted |= self.known.sent[name] if name in self.built else set()

    def build(self, *, delete: bool) -> bool:
        """Whether it was acknowledged; `built` are the pages it took in, or deleted, as they were before it."""
        if not delete:
            self.built = {path.name for path in self.known.docs.iterdir()}
        body = {"path": str(self.known.docs), "delete": delete}
        while True:  # until no other build is at work
            answer = self.ask("sync" if delete else "build", "POST", "builds?wait=true", {200, 423, 503}, json=body)
            if answer.status_code != httpx.codes.LOCKED:
                return answer.is_success
            time.sleep(0.5)

    def ask(self, what: str, method: str, path: str, expected: set[int], **body: object) -> httpx.Response:
        """Raises httpx.TransportError when the service is gone."""
        answer = self.client.request(method, f"/v1/indexes/{INDEX}/{path}", **body)  # type: ignore[arg-type]
        if answer.status_code not in expected:
            self.known.surprises.append(f"{what}: {answer.status_code} {answer.text}")
        self.known.done[f"{what} {answer.status_code}"] += 1
        return answer


def kill_workers(home: Path) -> int:
    """Kill whoever builds in this home; how many there were."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"indexer.building" in (process / "cmdline").read_bytes() and (
                f"RAGTUNE_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0")
            ):
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    return killed


def check(url: str, home: Path, known: Known) -> int:
    """All that must hold after a restart; how many versions there are."""
    assert not known.surprises
    with httpx.Client(base_url=url, timeout=300) as client:
        wait_for_workers(client)
        indexes = Indexes(home, Database(home / "ragtune.db"))
        answer = client.get(f"/v1/indexes/{INDEX}/versions")
        versions = answer.json() if answer.is_success else []
        assert sum(version["current"] for version in versions) == bool(versions)
        assert [str(version) for name in indexes.versions.names() for version in indexes.versions.of(name)] == [
            version["version"] for version in versions
        ]
        for version in indexes.versions.of(INDEX) if versions else []:
            check_whole(version)
            check_searches(client, str(version), known)
        check_documents(client, known)
        check_new_build(client, known)
    return len(versions)


def wait_for_workers(client: httpx.Client) -> None:
    """A worker that has outlived the service that was killed goes on; no other job is at work."""
    for _ in range(1200):
        if not any(client.get("/v1/jobs", params={"state": state}).json() for state in ("queued", "running")):
            return
        time.sleep(0.1)
    raise TimeoutError("a job is at work for ever")


def check_searches(client: httpx.Client, version: str, known: Known) -> set[int]:
    """No method finds what was deleted; the stamps that a dense search, which finds everything, does."""
    for method in METHODS:
        body = {"query": "alpha", "top_k": 1000, "retrieval": method}
        answer = client.post(f"/v1/indexes/{version}/search", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        found = {stamp_of(passage["text"]) for passage in answer.json()["passages"]} - {NOTHING}
        assert not found & known.deleted, f"{version} shows by {method} what was deleted"
        if method == "dense":
            everything = found
    return everything


def check_documents(client: httpx.Client, known: Known) -> None:
    """Those that were acknowledged are there, and no deleted one is."""
    answer = client.get(f"/v1/indexes/{INDEX}/documents", params={"limit": 1000})
    listed = {d["id"]: d["sha256"] for d in answer.json()["documents"]} if answer.is_success else {}
    for name, stamps in known.stored.items():
        assert listed.get(name, "") in {known.hashes[stamp] for stamp in stamps}
    assert not set(listed.values()) & {known.hashes[stamp] for stamp in known.deleted}


def check_new_build(client: httpx.Client, known: Known) -> None:
    """A build starts at once, and brings what is there; a generation answers from it."""
    (known.docs / "always.md").write_text("# Always\n\nalpha here")
    body = {"path": str(known.docs)}
    built = client.post(f"/v1/indexes/{INDEX}/builds", params={"wait": "true"}, json=body)
    assert built.status_code == httpx.codes.OK, built.text
    version = built.json()["result"]["version"]
    found = check_searches(client, INDEX, known)
    assert found >= {stamp_of(path.read_text()) for path in known.docs.iterdir()} - {NOTHING}
    for stamps in known.stored.values():
        assert (found & stamps or {NOTHING}) <= stamps
        assert found & stamps or NOTHING in stamps
    answer = client.post("/v1/query", json={"query": "What is alpha?", "mode": f"rag:{INDEX}", "max_tokens": 2})
    assert answer.status_code == httpx.codes.OK and answer.json()["versions"]["index"] == version, answer.text


def test_after_kill_9_of_a_service_or_its_worker_an_index_shows_what_was_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    save_tiny(folder / "tiny")
    (folder / "docs").mkdir()
    draw, known, versions, killed = random.Random(0), Known(folder / "docs"), [], 0
    for number in range(ROUNDS):
        with killable_service(folder, document_roots=folder / "docs") as (url, process):
            versions.append(check(url, folder / "home", known))
            visitors = [Visitor(url, known, random.Random(2 * number + one)) for one in range(2)]
            works = (visitors[0].upload_for_ever, visitors[1].build_for_ever)
            threads = [threading.Thread(target=work) for work in works]
            for thread in threads:
                thread.start()
            time.sleep(draw.uniform(2.0, 20.0))
            if number % 3 == 0:
                killed += kill_workers(folder / "home")
                time.sleep(draw.uniform(0.0, 3.0))
            process.kill()
            if number % 3 == 1:
                killed += kill_workers(folder / "home")
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
    with killable_service(folder, document_roots=folder / "docs") as (url, _):
        versions.append(check(url, folder / "home", known))
    print(f"{ROUNDS} kills, {killed} of workers, {dict(known.done)}; up to {max(versions)} versions")
    assert known.done["waited 200"] and known.done["build 200"] and max(versions) > 1
    assert known.deleted or ROUNDS < 5
