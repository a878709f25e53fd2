"""`ragtune doctor`: what it finds, and what it says is wrong with which remedy."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.base_model import BaseModelInfo
from ragtune.store import Database
from service.doctor import Finding, doctor, examine


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: BaseModelInfo) -> pytest.MonkeyPatch:
    """A home of its own and a tiny base model; an embedding model that is not there, as loading one takes seconds."""
    monkeypatch.setenv("RAGTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAGTUNE_BASE_MODEL", str(base.folder))
    monkeypatch.setenv("RAGTUNE_EMBEDDING_MODEL", "/no/such/model")
    return monkeypatch


def found() -> dict[str, Finding]:
    return {f"{finding.section}/{finding.name}": finding for finding in examine()}


def problems(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.problem and not name.startswith("libraries/")}


def test_models_folders_settings_and_store_are_shown(environment: pytest.MonkeyPatch, base: BaseModelInfo) -> None:
    environment.setenv("RAGTUNE_TOP_K", "7")
    findings = found()
    assert base.fingerprint[:12] in findings["models/base"].value
    assert "GiB free" in findings["folders/home"].value
    assert findings["settings/top_k"].value == "7  (environment)"
    assert findings["settings/port"].value == "8000  (default)"
    assert findings["store/database"].problem is None
    assert problems(findings) == {"models/embedding"}
    assert "/no/such/model" in str(findings["models/embedding"].problem)


def test_the_exit_code_says_that_something_is_wrong_and_the_text_what(environment: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == 1
    assert "! embedding: " in result.stdout
    listed = json.loads(CliRunner().invoke(doctor, ["--json"]).stdout)
    assert {"section", "name", "value", "problem"} == set(listed[0])


def test_a_misspelt_setting_is_a_finding_and_no_crash(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RAGTUNE_TOPK", "7")
    assert "did you mean 'top_k'" in str(found()["settings/all"].problem)


def test_a_base_model_that_is_not_there_is_a_finding(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RAGTUNE_BASE_MODEL", "/no/such/folder")
    assert "RAGTUNE_BASE_MODEL" in str(found()["models/base"].problem)


def test_a_home_that_is_no_folder_or_a_broken_database_is_a_finding(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ragtune.db").write_bytes(b"not a database" * 100)
    assert "cannot use" in str(found()["store/database"].problem)


def test_adapters_made_for_another_base_model_are_named(
    environment: pytest.MonkeyPatch, database: Database, settings: object, tmp_path: Path, base: BaseModelInfo
) -> None:
    environment.setenv("RAGTUNE_HOME", str(database.path.parent))
    findings = found()
    assert "my-lora@1" in findings["store/adapter"].value
    assert "prompt" not in findings["store/template"].value and "brief@1" in findings["store/template"].value
    assert findings["store/adapter"].problem is None
    config = json.loads((base.folder / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for file in base.folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    environment.setenv("RAGTUNE_BASE_MODEL", str(other))
    problem = str(found()["store/adapter"].problem)
    assert "my-lora@1" in problem and "RAGTUNE_BASE_MODEL" in problem


def test_prepare_makes_the_base_model_ready_and_says_where(
    environment: pytest.MonkeyPatch, base: BaseModelInfo
) -> None:
    result = CliRunner().invoke(doctor, ["--prepare"])
    assert result.exit_code == 0
    assert str(base.folder) in result.stdout.replace("\n", "")
