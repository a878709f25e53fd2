"""The examples of docs/guides/clients.md, run as they are, as processes of their own against a real server."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MODES = ["base", "knowledge-lora", "rag"]  # the examples' own, as the demo registers them
PROMPTFOO = os.environ.get("PROMPTFOO") or shutil.which("promptfoo")  # no RAGTUNE_ name: settings refuse unknown ones
ALONE = {  # promptfoo reports nothing, asks for no news, and a failed assertion is a result and not a failed run
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_SHARING": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_FAILED_TEST_EXIT_CODE": "0",
}


@pytest.fixture
async def base_url(url: str, peft_folders: Path) -> AsyncIterator[str]:
    """The server's OpenAI address, with an adapter under the name the examples use."""
    async with httpx.AsyncClient(base_url=url) as client:
        put = await client.put("/v1/adapters/knowledge-lora", json={"path": str(peft_folders / "my-lora")})
        put.raise_for_status()
        yield f"{url}/v1"
        (await client.delete("/v1/adapters/knowledge-lora")).raise_for_status()


async def run(*command: str | Path, **environ: str) -> str:
    """A finished process's stdout; a failed one's whole output is shown."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=_surroundings() | environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode() + errors.decode()
    return out.decode()


def _surroundings() -> dict[str, str]:
    """Our environment without anything that would send a client elsewhere or have it report what it does."""
    foreign = ("OPENAI_", "LANGCHAIN_", "LANGSMITH_", "PROMPTFOO")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def sections(output: str) -> dict[str, str]:
    """What an example printed, by the titles between."""
    parts = re.split(r"^== (.+)\n", output, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def assert_every_mode_answered(printed: dict[str, str]) -> None:
    """Resolved mode and usage everywhere, passages with `rag` alone, and the stream no different from the whole."""
    resolved = {"base": "base", "knowledge-lora": r"knowledge-lora@\d+", "rag": r"rag:handbook@\d+"}
    for mode, pattern in resolved.items():
        assert re.search(rf"^   {pattern}, \d+ \+ \d+ tokens$", printed[mode], re.MULTILINE)
        assert ("[1] " in printed[mode]) == ("warranty.md: Warranty" in printed[mode]) == (mode == "rag")
    assert printed["rag, streamed"].strip() == printed["rag"].strip()


async def test_the_openai_example_asks_in_every_mode_and_streams(base_url: str) -> None:
    printed = sections(await run(sys.executable, EXAMPLES / "openai_client.py", "--base-url", base_url))
    assert list(printed) == [*MODES, "rag, streamed"]
    assert_every_mode_answered(printed)


async def test_the_openai_example_takes_other_modes_and_another_question(base_url: str) -> None:
    modes = ("my-soft", "my-lora+rag:handbook")
    example = EXAMPLES / "openai_client.py"
    printed = sections(await run(sys.executable, example, "--base-url", base_url, "--question", "Hello zzz", *modes))
    assert list(printed) == [*modes, "my-lora+rag:handbook, streamed"]
    assert "my-lora@1+rag:handbook@1" in printed["my-lora+rag:handbook"]


async def test_the_langchain_example_invokes_streams_and_batches(base_url: str) -> None:
    pytest.importorskip("langchain_openai", reason="langchain-openai is not installed; `make setup` does it")
    printed = sections(await run(sys.executable, EXAMPLES / "langchain_chat.py", "--base-url", base_url))
    assert list(printed) == [*MODES, "rag, streamed", "rag, a batch"]
    assert_every_mode_answered(printed)
    assert printed["rag, a batch"].count("Passages:") == 2


@pytest.mark.skipif(
    PROMPTFOO is None,
    reason="promptfoo is not on PATH (`npm install -g promptfoo`, Node 22.22 or newer), nor named by PROMPTFOO",
)
async def test_the_promptfoo_example_compares_the_modes(base_url: str, tmp_path: Path) -> None:
    config, out = EXAMPLES / "promptfooconfig.yaml", tmp_path / "out.json"
    program = Path(str(PROMPTFOO))
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"  # npm puts the Node it needs beside it
    environ = {**ALONE, "OPENAI_BASE_URL": base_url, "PROMPTFOO_CONFIG_DIR": str(tmp_path), "PATH": path}
    await run(program, "eval", "-c", config, "--no-cache", "--no-table", "-o", out, **environ)
    results = json.loads(out.read_text())["results"]
    assert results["stats"]["errors"] == 0, results
    providers = [result["provider"]["id"] for result in results["results"]]
    assert sorted(providers) == sorted(f"openai:chat:{mode}" for mode in MODES * 3)
    for result, provider in zip(results["results"], providers, strict=True):
        begins = "Passages:" if provider.endswith(":rag") else result["vars"]["question"][:30]
        assert result["response"]["output"].startswith(f"user\n{begins}")  # the engine echoes the prompt
