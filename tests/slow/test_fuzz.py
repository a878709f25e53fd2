"""schemathesis throws at every operation of the OpenAPI document what fits it and what does not.

A real server process with a real engine on a tiny model answers: never with a 5xx, always in time, only with statuses,
content types and bodies that the document names.
"""

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scripts.write_openapi import document
from tests.equivalence.harness import make_adapter
from tests.tiny import save_tiny, tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))  # of each operation
ANSWER_WITHIN = 130.0  # seconds; the server itself gives up after 120
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(document())
COUNTS: Counter[str] = Counter()


@schemathesis.serializer("application/toml")
def toml(_context: object, value: object) -> bytes:
    """Whatever was made up, as text."""
    return str(value).encode(errors="replace")


@schemathesis.serializer("application/zip", "application/x-tar", "application/gzip")
def archive(_context: object, value: object) -> bytes:
    """Bytes as they were made up."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over a home with a LoRA, a soft prompt, an index and a template."""
    folder = tmp_path_factory.mktemp("fuzz")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "docs").mkdir()
    (folder / "docs" / "warranty.md").write_text("# Warranty\n\nThe Brevik pump has a warranty of 26 months.")
    (folder / "brief.toml").write_text('system = "Be brief."')
    environment = os.environ | {
        "RAGTUNE_HOME": str(folder / "home"),
        "RAGTUNE_BASE_MODEL": str(save_tiny(folder / "tiny")),
        "RAGTUNE_ADAPTER_ROOTS": str(folder),
        "RAGTUNE_DOCUMENT_ROOTS": str(folder / "docs"),
        "RAGTUNE_MAX_MODEL_LEN": "192",
        "RAGTUNE_THREADS": "1",
    }
    ragtune = [sys.executable, "-P", "-m", "ragtune"]
    for name, kind in (("a-lora", "plain"), ("a-soft", "soft")):
        make_adapter(tiny_model(), kind, folder / name)
        subprocess.run([*ragtune, "adapter", "add", name, str(folder / name)], env=environment, check=True)
    subprocess.run([*ragtune, "index", "build", str(folder / "docs"), "--name", "docs"], env=environment, check=True)
    subprocess.run([*ragtune, "template", "add", "brief", str(folder / "brief.toml")], env=environment, check=True)
    log = (folder / "server.log").open("w")
    server = subprocess.Popen([*ragtune, "serve", "--port", str(port)], env=environment, stderr=log, stdout=log)
    address = f"http://127.0.0.1:{port}"
    try:
        ready(address, server)
        yield address
        assert server.poll() is None, "the server ended"
        assert httpx.get(f"{address}/readyz").status_code == 200
    finally:
        server.terminate()
        server.wait(60)
        log.close()
        print(f"{sum(COUNTS.values())} examples; statuses {dict(sorted(COUNTS.items()))}")


def ready(address: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert server.poll() is None, "the server did not start"
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(address)


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_the_server_keeps_to_its_document(case: schemathesis.Case, url: str) -> None:
    if isinstance(case.body, dict):
        case.body.pop("deadline", None)  # a short one asks for its 504
    if case.path == "/v1/training":
        case.query.pop("wait", None)  # trainings may be asked for that take hours
    response = case.call(base_url=url, timeout=ANSWER_WITHIN)
    COUNTS[str(response.status_code)] += 1
    case.validate_response(response, checks=CHECKS)


def test_enough_was_thrown() -> None:
    assert sum(COUNTS.values()) >= 2000 or EXAMPLES < 100
