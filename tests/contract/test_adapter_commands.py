"""`ragtune adapter add` and `export` on a tiny base model: from archives, and back to what plain PEFT loads."""

import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict

from adapters.export import export
from adapters.manifest import AdapterManifest
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
