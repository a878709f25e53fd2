"""`ragtune adapter add` and `export` on a tiny base model: from archives, and back to what plain PEFT loads."""

import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict

from adapters.export import export
from adapters.fingerprint import fingerprint_of
from adapters.manifest import AdapterManifest, Bill, TrainingRecord
from ragtune.cli import main
from ragtune.errors import InvalidRequest
from ragtune.mode import Ref
from ragtune.store import Database
from ragtune.versions import Version, Versions
from tests.equivalence.harness import make_adapter
from tests.tiny import save_tiny, tiny_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model, and a LoRA and a soft prompt as PEFT saved them."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny(folder / "tiny")
    for name, kind in (("my-lora", "patterned"), ("my-soft", "soft")):
        make_adapter(tiny_model(), kind, folder / name)
    return folder


class Shell:
    """`ragtune` in this process, on a home of its own."""

    def __init__(self, home: Path, place: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        for name, value in (("HOME", home), ("CACHE", home / "cache"), ("BASE_MODEL", place / "tiny")):
            patch.setenv(f"RAGTUNE_{name}", str(value))
        self.home = home
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._patch.setattr(sys, "argv", ["ragtune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *self._capsys.readouterr()

    def version(self, ref: str) -> Version[AdapterManifest]:
        """From the store."""
        versions = Versions(self.home, Database(self.home / "ragtune.db"), "adapter", AdapterManifest)
        return versions.resolve(Ref.parse(ref, "adapter"))


@pytest.fixture
def ragtune(tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path / "home", place, capsys, monkeypatch)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """What plain PEFT loads."""
    return get_peft_model_state_dict(PeftModel.from_pretrained(tiny_model(), folder))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_a_zip_and_a_tar_of_it_are_one_version(ragtune: Shell, place: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as tar:
        tar.add(place / "my-lora", "my-lora")
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        for path in (place / "my-lora").iterdir():
            archive.write(path, path.name)
    assert ragtune("adapter", "add", "mine", place / "my-lora")[0] == 0
    code, out, err = ragtune("adapter", "add", "mine", tmp_path / "x.tgz")
    assert (code, err) == (0, "left out: my-lora/README.md\n")
    assert "mine@1" in out
    added = json.loads(ragtune("adapter", "add", "mine", tmp_path / "x", "--json")[1])
    assert (added["version"], added["ignored"]) == ("mine@1", ["README.md"])
    assert not list((ragtune.home / "store" / "adapter" / ".staging").iterdir())


def test_what_is_no_archive_is_refused_and_leaves_nothing(ragtune: Shell, place: Path) -> None:
    code, _, err = ragtune("adapter", "add", "mine", place / "my-lora" / "adapter_model.safetensors")
    assert (code, err) == (1, "error: this is neither a zip nor a tar archive (plain or gzipped)\n")
    assert ragtune("adapter", "add", "mine", place / "nothing")[2] == f"error: there is no folder {place / 'nothing'}\n"
    assert not list((ragtune.home / "store" / "adapter").glob("[!.]*"))


@pytest.mark.parametrize("name", ["my-lora", "my-soft"])
def test_an_exported_adapter_is_in_plain_peft_what_it_was(
    ragtune: Shell, place: Path, tmp_path: Path, name: str
) -> None:
    ragtune("adapter", "add", name, place / name)
    target = tmp_path / "out"
    code, out, _ = ragtune("adapter", "export", f"{name}@1", target)
    assert (code, out) == (
        0,
        f"exported {name}@1 to {target}: adapter_config.json, adapter_model.safetensors\n",
    )
    exported, original = tensors(target), tensors(place / name)
    assert exported.keys() == original.keys()
    assert all(torch.equal(exported[key], original[key]) for key in original)


def test_an_exported_zip_is_taken_again_as_the_same_version(ragtune: Shell, place: Path, tmp_path: Path) -> None:
    ragtune("adapter", "add", "mine", place / "my-lora")
    exported = json.loads(ragtune("adapter", "export", "mine", tmp_path / "mine.zip", "--json")[1])
    assert exported["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    assert "mine@1" in ragtune("adapter", "add", "mine", tmp_path / "mine.zip")[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "mine.zip"]


def test_the_record_of_a_training_goes_along_and_the_stores_own_manifest_does_not(
    ragtune: Shell, place: Path, tmp_path: Path
) -> None:
    ragtune("adapter", "add", "mine", place / "my-lora")
    version = ragtune.version("mine")
    (version.folder / "ragtune.json").write_text("{}")
    (tmp_path / "out").mkdir()  # an empty folder is as good as none
    assert export(version, tmp_path / "out") == ["adapter_config.json", "adapter_model.safetensors", "ragtune.json"]
    assert files(tmp_path / "out").keys() == {"adapter_config.json", "adapter_model.safetensors", "ragtune.json"}


def test_nothing_is_ever_overwritten(ragtune: Shell, place: Path, tmp_path: Path) -> None:
    ragtune("adapter", "add", "mine", place / "my-lora")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    (tmp_path / "old.zip").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    for target in ("full", "old.zip", "full/notes", "link"):
        code, _, err = ragtune("adapter", "export", "mine", tmp_path / target)
        assert (code, err) == (
            1,
            f"error: {tmp_path / target} is there already; name an empty folder, or something new\n",
        )
    code, _, err = ragtune("adapter", "export", "mine", tmp_path / "no" / "where")
    assert "make it first" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_adapter_is_told_what_is_near(ragtune: Shell, place: Path, tmp_path: Path) -> None:
    ragtune("adapter", "add", "mine", place / "my-lora")
    assert "did you mean 'mine'?" in ragtune("adapter", "export", "mnie", tmp_path / "out")[2]
    assert "known: 1" in ragtune("adapter", "export", "mine@7", tmp_path / "out")[2]


def test_an_export_that_fails_midway_leaves_nothing(ragtune: Shell, place: Path, tmp_path: Path) -> None:
    ragtune("adapter", "add", "mine", place / "my-lora")
    version = ragtune.version("mine")
    weights = version.folder / "adapter_model.safetensors"
    weights.unlink()
    weights.symlink_to("/proc/self/mem")  # opens, and cannot be read
    out = tmp_path / "out"
    out.mkdir()
    for target in (out / "folder", out / "file.zip"):
        with pytest.raises(InvalidRequest, match=r"cannot write .*; nothing was written"):
            export(version, target)
        assert list(out.iterdir()) == []


@pytest.fixture
def billed(place: Path, tmp_path: Path) -> TrainingRecord:
    """`my-lora` in `tmp_path`, with a record of its training and a bill."""
    shutil.copytree(place / "my-lora", tmp_path / "billed")
    record = TrainingRecord(
        base_fingerprint=fingerprint_of(place / "tiny", tmp_path / "cache"),
        base_id="tiny",
        method="lora",
        recipe={"name": "my-lora", "method": "lora"},
        data_sha256="d",
        rendering_hash="e",
        template=None,
        index=None,
        seconds=60,
        steps=9,
        examples=12,
        tokens=300,
        trainable_parameters=100,
        final_loss=0.2,
        bill=Bill(
            wall_seconds=63,
            cpu_seconds=100,
            peak_memory=1_000_000,
            tokens=300,
            answer_tokens=30,
            tokens_per_second=5,
            trainable_parameters=100,
            total_parameters=1000,
            artifact_bytes=400,
            learning_rate=1e-3,
            best_step=9,
            train_loss=0.2,
            validation_loss=0.6,
        ),
        versions={"peft": "0.21.2"},
        created="2026-01-02T03:04:05+00:00",
    )
    record.write(tmp_path / "billed")
    return record


def test_the_bill_of_a_version_is_shown_as_a_table_a_page_and_json(
    ragtune: Shell, tmp_path: Path, billed: TrainingRecord
) -> None:
    ragtune("adapter", "add", "my-lora", tmp_path / "billed")
    code, table, _ = ragtune("adapter", "bill", "my-lora")
    assert code == 0
    assert "Bill of my-lora@1" in table and "1 min 3 s" in table and "overfits" in table

    code, page, _ = ragtune("adapter", "bill", "my-lora@1", "--markdown")
    assert code == 0
    assert page.startswith("# Bill of my-lora@1\n") and "| adapter\\_model.safetensors |" in page

    code, document, _ = ragtune("adapter", "bill", "my-lora", "--json")
    assert code == 0
    assert json.loads(document) == {"version": "my-lora@1", "training": billed.model_dump(mode="json")}


def test_a_version_without_a_bill_says_so(ragtune: Shell, place: Path, tmp_path: Path, billed: TrainingRecord) -> None:
    ragtune("adapter", "add", "other", place / "my-soft")
    code, out, err = ragtune("adapter", "bill", "other")
    assert (code, out) == (0, "") and "other@1 has no bill: it was added without a record of its training" in err
    assert json.loads(ragtune("adapter", "bill", "other", "--json")[1]) == {"version": "other@1", "training": None}

    billed.model_copy(update={"bill": None}).write(tmp_path / "billed")
    ragtune("adapter", "add", "old", tmp_path / "billed")
    assert "none: it was trained before there were bills" in ragtune("adapter", "bill", "old")[1]


def test_a_bill_is_asked_for_in_one_form_and_of_a_name_that_exists(ragtune: Shell, place: Path) -> None:
    ragtune("adapter", "add", "my-lora", place / "my-lora")
    assert ragtune("adapter", "bill", "my-lora", "--json", "--markdown")[0] == 2
    code, _, err = ragtune("adapter", "bill", "my-lra")
    assert code == 1 and "did you mean 'my-lora'" in err
