"""The process that checks adapters: as good as a thread, niced, and nothing it dies of stops the service."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from adapters.base_model import BaseModelInfo, describe
from ragtune.errors import RefusedArtifact
from service.parts import Preparer
from service.proving import ProverProcess
from tests.equivalence.harness import make_adapter
from tests.fakes import ThreadPreparer
from tests.tiny import save_tiny, tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelInfo:
    folder = tmp_path_factory.mktemp("base")
    return describe(save_tiny(folder / "tiny"), folder / "cache", "tiny")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prover(base: BaseModelInfo, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProverProcess]:
    prover = ProverProcess(base, tmp_path_factory.mktemp("cache"))
    yield prover
    await prover.close()


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny_model(), "plain", tmp_path_factory.mktemp("lora") / "plain")


def process_of(prover: ProverProcess) -> psutil.Process:
    assert prover._process is not None
    return psutil.Process(prover._process.pid)


async def test_the_process_and_the_thread_say_the_same(
    prover: ProverProcess, base: BaseModelInfo, lora: Path, tmp_path: Path
) -> None:
    manifests = []
    preparers: dict[str, Preparer] = {"process": prover, "thread": ThreadPreparer(base)}
    for name, preparer in preparers.items():
        (tmp_path / name).mkdir()
        manifest = await preparer.prepare(lora.resolve(), tmp_path / name)
        assert manifest.proof is not None and not manifest.proof.inert
        manifests.append(manifest.model_copy(update={"proof": None}))
    assert manifests[0] == manifests[1]
    assert process_of(prover).nice() == 5


async def test_a_refusal_keeps_its_class_and_its_words_and_the_process(prover: ProverProcess, tmp_path: Path) -> None:
    with pytest.raises(RefusedArtifact, match=r"no adapter_config.json"):
        await prover.prepare(tmp_path, tmp_path)
    before = process_of(prover).pid
    with pytest.raises(RefusedArtifact):
        await prover.prepare(tmp_path, tmp_path)
    assert process_of(prover).pid == before


async def test_an_adapter_the_process_dies_of_is_refused_and_the_next_one_is_checked(
    prover: ProverProcess, lora: Path, tmp_path: Path
) -> None:
    with pytest.raises(RefusedArtifact):
        await prover.prepare(tmp_path, tmp_path)
    victim = process_of(prover)
    (tmp_path / "one").mkdir()
    os.kill(victim.pid, signal.SIGSTOP)  # so that it cannot be done before it is killed
    dying = asyncio.create_task(prover.prepare(lora.resolve(), tmp_path / "one"))
    await asyncio.sleep(0.05)
    victim.kill()
    with pytest.raises(RefusedArtifact, match="died of this one"):
        await dying
    (tmp_path / "two").mkdir()
    assert (await prover.prepare(lora.resolve(), tmp_path / "two")).kind == "lora"


async def test_a_process_that_was_just_let_go_is_started_anew(
    prover: ProverProcess, lora: Path, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    await prover.prepare(lora.resolve(), tmp_path / "one")
    before = process_of(prover).pid
    prover._let_go()
    assert (await prover.prepare(lora.resolve(), tmp_path / "two")).kind == "lora"
    assert process_of(prover).pid != before


async def test_closing_ends_the_process(base: BaseModelInfo, tmp_path: Path) -> None:
    prover = ProverProcess(base, tmp_path)
    with pytest.raises(RefusedArtifact):
        await prover.prepare(tmp_path, tmp_path)
    process = process_of(prover)
    await prover.close()
    assert not process.is_running()
