"""An adapter as the body of a request, or from the hub: streamed to the disk, taken whole, or nothing stays."""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import httpx
import pytest

from service.parts import Parts
from tests.api.conftest import Call, Make, Serve
from tests.api.test_resource_routes import Error, mode_of

TYPES = {"zip": "application/zip", "tar": "application/x-tar", "tgz": "application/gzip"}


def packed(folder: Path, form: str, place: str = "") -> bytes:
    """A folder's files as an archive."""
    made = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, place + path.name)
    else:
        with tarfile.open(fileobj=made, mode="w:gz" if form == "tgz" else "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, place + path.name)
    return made.getvalue()


async def upload(client: httpx.AsyncClient, name: str, content: bytes, form: str = "zip") -> httpx.Response:
    return await client.put(f"/v1/adapters/{name}", content=content, headers={"content-type": TYPES[form]})


def stored(parts: Parts) -> list[str]:
    """Everything under the store, staging included."""
    root = parts.settings.home / "store" / "adapter"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.name != ".staging")


@pytest.mark.parametrize("form", TYPES)
async def test_an_uploaded_adapter_is_the_same_version_as_its_folder(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path, form: str
) -> None:
    name = f"sent-{form}"
    first = await upload(client, name, packed(peft_folders / "my-lora", form, "my-lora/"), form)
    assert (first.status_code, first.json()["version"]) == (200, f"{name}@1"), first.text
    assert first.json()["ignored"] == ["my-lora/README.md"]
    again = await client.put(f"/v1/adapters/{name}", json={"path": str(peft_folders / "my-lora")})
    assert again.json()["version"] == f"{name}@1"
    assert await mode_of(client, f"{name}+rag") == f"{name}@1+rag:handbook@1"
    assert not any(entry.startswith(".staging/") for entry in stored(parts))


async def test_the_content_decides_what_an_archive_is_and_its_type_only_that_it_is_one(
    client: httpx.AsyncClient, peft_folders: Path
) -> None:
    content = packed(peft_folders / "my-soft", "tgz")
    assert (await upload(client, "mislabelled", content, "zip")).json()["manifest"]["kind"] == "soft_prompt"


@pytest.mark.parametrize(
    "kind", ["application/octet-stream", "application/x-bzip2", "text/plain", "multipart/form-data"]
)
async def test_another_type_of_body_is_refused_and_told_which_are_taken(client: httpx.AsyncClient, kind: str) -> None:
    error = Error.of(await client.put("/v1/adapters/x", content=b"PK", headers={"content-type": kind}))
    assert (error.status, error.code) == (400, "invalid_request")
    assert "application/json or application/zip" in error.message


@pytest.mark.parametrize("path", ["/v1/adapters/x/y", "/v1/adapters/", "/v1/templates/x", "/v1/indexes/x", "/v1/query"])
async def test_archives_are_taken_at_this_one_route(client: httpx.AsyncClient, path: str) -> None:
    for method in ("PUT", "POST"):
        response = await client.request(method, path, content=b"PK", headers={"content-type": "application/zip"})
        assert response.status_code == 400
    response = await client.post("/v1/adapters/x", content=b"PK", headers={"content-type": "application/zip"})
    assert response.status_code == 400


async def test_an_archive_over_the_limit_is_refused_announced_or_not_and_nothing_stays(
    call: Call, make_parts: Make, peft_folders: Path
) -> None:
    content = packed(peft_folders / "my-lora", "zip")
    parts = make_parts(max_upload=len(content) - 1)
    before = stored(parts)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]

    async with call(parts) as client:
        for body in (content, pieces()):
            response = await client.put("/v1/adapters/x", content=body, headers={"content-type": "application/zip"})
            error = Error.of(response)
            assert (error.status, error.code) == (413, "too_large")
            assert "RAGTUNE_MAX_UPLOAD" in error.message
    assert stored(parts) == before


async def test_a_large_archive_is_never_held_in_memory(
    client: httpx.AsyncClient, parts: Parts, peft_folders: Path
) -> None:
    """48 MiB beside the adapter; the archive is a plain tar, so that its size is what comes."""
    adapter = packed(peft_folders / "my-lora", "tar").rstrip(b"\0")
    adapter += bytes(-len(adapter) % 512)
    info = tarfile.TarInfo("optimizer.pt")
    info.size = 48 << 20

    async def pieces() -> AsyncIterator[bytes]:
        yield info.tobuf()
        for _ in range(48 << 4):
            yield os.urandom(1 << 16)
        yield adapter + bytes(1024)

    before = stored(parts)
    tracemalloc.start()
    try:
        headers = {"content-type": "application/x-tar"}
        response = await client.put("/v1/adapters/beside-much", content=pieces(), headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.json()["ignored"] == ["optimizer.pt", "README.md"], response.text
    assert peak < 16 << 20
    await client.delete("/v1/adapters/beside-much")
    assert [entry for entry in stored(parts) if not entry.startswith("beside-much")] == before


async def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(
    make_parts: Make, serve: Serve, peft_folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = make_parts()
    staging = parts.settings.home / "store" / "adapter" / ".staging"
    content = packed(peft_folders / "my-lora", "zip")
    before = stored(parts)
    async with serve(parts) as url:
        port = int(url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"PUT /v1/adapters/half HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
        writer.write(f"{head}content-type: application/zip\r\n\r\n".encode() + content[: len(content) // 2])
        await writer.drain()
        async with asyncio.timeout(5):
            while not list(staging.glob("*/archive")):
                await asyncio.sleep(0.005)
            writer.close()
            while list(staging.iterdir()):
                await asyncio.sleep(0.005)
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/v1/adapters/half")).status_code == 404
            assert await mode_of(client, "my-lora") == "my-lora@1"
    assert stored(parts) == before
    assert "failed" not in caplog.text  # whoever leaves is no fault of ours


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_disk_that_fills_up_meanwhile_is_a_507_and_nothing_stays(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    """Where the upload is written to, there is a device that is always full."""
    staging = parts.settings.home / "store" / "adapter" / ".staging"
    before = stored(parts)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"PK"
        (archive,) = staging.glob("*/archive")
        descriptors = Path("/proc/self/fd")
        (open_file,) = [fd for fd in descriptors.iterdir() if os.path.realpath(fd) == str(archive.resolve())]
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, int(open_file.name))
        os.close(full)
        yield bytes(2 << 20)

    headers = {"content-type": "application/zip"}
    error = Error.of(await client.put("/v1/adapters/full", content=pieces(), headers=headers))
    assert (error.status, error.code) == (507, "storage_full")
    assert stored(parts) == before


async def test_the_hub_is_not_asked_unless_that_is_enabled(client: httpx.AsyncClient) -> None:
    error = Error.of(await client.put("/v1/adapters/x", json={"hub": "someone/support-lora"}))
    assert (error.status, error.code, error.param) == (403, "forbidden", "hub")
    assert "RAGTUNE_HUB_ADAPTERS=true" in error.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"hub": "../etc"}, "hub: "),
        ({"hub": "a/../b"}, "hub: "),
        ({"hub": "alone"}, "hub: "),
        ({"hub": "a/b", "revision": "../../x"}, "revision: "),
        ({"hub": "a/b", "path": "/x"}, "path: unknown field"),
        ({"hub": 1}, "hub: "),
        ({"revision": "main"}, "hub: Field required"),
        ({"path": "/x", "pth": 1}, "pth: unknown field"),
        ({}, "path: Field required"),
        ([], '{"path": FOLDER}'),
        ("a/b", '{"hub": "USER/REPOSITORY"}'),
    ],
)
async def test_a_body_that_names_no_source_is_a_400(call: Call, make_parts: Make, body: object, words: str) -> None:
    async with call(make_parts(hub_adapters=True)) as client:
        error = Error.of(await client.put("/v1/adapters/x", json=body))
    assert (error.status, error.code) == (400, "invalid_request")
    assert words in error.message


@pytest.mark.parametrize("content", [b"{", b"", b"[" * 100_000, b'{"path": NaN}', b"\xff"])
async def test_a_body_that_is_no_json_is_a_400(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.put("/v1/adapters/x", content=content, headers={"content-type": "application/json"})
    assert (response.status_code, Error.of(response).code) == (400, "invalid_request")


async def test_an_adapter_of_the_hub_is_the_same_version_as_its_folder(
    call: Call, make_parts: Make, peft_folders: Path, cached_hub: Path
) -> None:
    parts = make_parts(hub_adapters=True)
    async with call(parts) as client:
        for revision in (None, "main", "0" * 40):
            body = {"hub": "someone/support-lora", "revision": revision}
            response = await client.put("/v1/adapters/from-hub", json=body)
            assert (response.status_code, response.json()["version"]) == (200, "from-hub@1"), response.text
        folder = {"path": str(peft_folders / "my-lora")}
        assert (await client.put("/v1/adapters/from-hub", json=folder)).json()["version"] == "from-hub@1"
        assert await mode_of(client, "from-hub") == "from-hub@1"
    assert not any(entry.startswith(".staging/") for entry in stored(parts))


@pytest.mark.parametrize(
    ("changes", "body", "status", "words"),
    [
        ({}, {"hub": "someone/other"}, 422, "HF_HUB_OFFLINE"),
        ({}, {"hub": "someone/support-lora", "revision": "v2"}, 422, "someone/support-lora@v2 cannot be had"),
        ({"max_upload": 100}, {"hub": "someone/support-lora"}, 413, "RAGTUNE_MAX_UPLOAD"),
    ],
)
async def test_what_the_hub_does_not_have_or_is_too_large_is_refused_and_nothing_stays(
    call: Call,
    make_parts: Make,
    cached_hub: Path,
    changes: dict[str, object],
    body: dict[str, str],
    status: int,
    words: str,
) -> None:
    parts = make_parts(hub_adapters=True, **changes)
    before = stored(parts)
    async with call(parts) as client:
        error = Error.of(await client.put("/v1/adapters/from-hub-too", json=body))
    assert error.status == status
    assert words in error.message
    assert stored(parts) == before


class LocalHub(BaseHTTPRequestHandler):
    """A repository as the hub shows it: the commit, the list of files, the files."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.asked.append((self.command, path))
        repository, commit = "/api/models/someone/support-lora", "1" * 40
        if path == f"{repository}/revision/main":
            self._answer(json.dumps({"id": "someone/support-lora", "sha": commit}).encode())
        elif path == f"{repository}/tree/{commit}":
            sizes = [(name, len(content)) for name, content in self.files.items()]
            tree = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in sizes]
            self._answer(json.dumps(tree).encode())
        elif path.startswith(f"/someone/support-lora/resolve/{commit}/"):
            self._answer(self.files[path.rpartition("/")[2]])
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.send_header("etag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("x-repo-commit", "1" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def local_hub(peft_folders: Path) -> Iterator[str]:
    LocalHub.files = {path.name: path.read_bytes() for path in (peft_folders / "my-lora").iterdir()}
    LocalHub.files |= {"adapter_model.bin": b"\x80\x02}q\x00.", "modeling_evil.py": b"import os"}
    LocalHub.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), LocalHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("hub", "repository", "error"),
    [
        ("http://127.0.0.1:9", "someone/support-lora", "Unavailable: someone/support-lora cannot be had"),
        ("local", "someone/other", "UnknownName: someone/other cannot be had"),
    ],
)
def test_a_hub_that_cannot_be_asked_is_another_thing_than_one_that_does_not_have_it(
    local_hub: str, tmp_path: Path, hub: str, repository: str, error: str
) -> None:
    environment = os.environ | {
        "HF_ENDPOINT": local_hub if hub == "local" else hub,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
    }
    ask = f"fetch({repository!r}, None, Path({str(tmp_path)!r}), 1 << 30, UnknownName)"
    imports = "from pathlib import Path; from adapters.hub import fetch; from ragtune.errors import UnknownName"
    command = [sys.executable, "-c", f"{imports}; {ask}"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert error in run.stderr.strip().splitlines()[-1]


def test_of_a_repository_only_the_adapters_own_files_are_downloaded_and_only_if_they_are_not_too_large(
    local_hub: str, tmp_path: Path, peft_folders: Path
) -> None:
    """In an interpreter of its own, as the hub's address is read when its library is imported."""
    target = tmp_path / "target"
    target.mkdir()
    environment = os.environ | {
        "HF_ENDPOINT": local_hub,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
    }

    def run(most: int) -> subprocess.CompletedProcess[str]:
        ask = f"fetch('someone/support-lora', None, Path({str(target)!r}), {most})"
        command = [sys.executable, "-c", f"from pathlib import Path; from adapters.hub import fetch; {ask}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    refused = run(1000)
    assert "TooLarge: someone/support-lora has" in refused.stderr
    assert not any(method == "GET" and "/resolve/" in path for method, path in LocalHub.asked)
    assert list(target.iterdir()) == []
    done = run(1 << 30)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in target.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    for path in target.iterdir():
        assert not path.is_symlink()
        assert path.read_bytes() == (peft_folders / "my-lora" / path.name).read_bytes()
    assert not any("evil" in path or path.endswith(".bin") for _, path in LocalHub.asked)
