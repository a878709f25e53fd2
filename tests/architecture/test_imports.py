"""The direction of imports, as pyproject.toml's contracts state it, and what an import really loads.

The contracts read the source; the subprocess tests look at `sys.modules`, which also sees what a third party pulls in.
"""

import ast
import json
import logging
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
PACKAGES = ("ragtune", "indexer", "adapters", "service", "eval")
HEAVY = {"torch", "transformers", "peft", "sentence_transformers", "faiss", "fastapi"}


def command_modules() -> list[str]:
    """The modules behind the sub-commands of `ragtune`, all of which `ragtune --help` imports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = {target.partition(":")[0] for target in project["entry-points"]["ragtune.commands"].values()}
    return sorted(name for name in modules if (ROOT / name.replace(".", "/")).with_suffix(".py").exists())


def loaded_by(statements: str) -> set[str]:
    """The top-level modules a fresh interpreter holds after running the statements."""
    report = "\nimport json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", statements + report], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(package: str) -> list[str]:
    """Dotted names of a package's modules, by its files, so that nothing is imported to find out."""
    files = (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files if path.stem != "__main__"]


def imports_in(path: Path) -> Iterator[str]:
    """The modules a source file imports anywhere, functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_imports_follow_the_contracts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    enabled = [logger for logger in logging.root.manager.loggerDict.values() if not getattr(logger, "disabled", True)]
    status = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    for logger in enabled:
        vars(logger)["disabled"] = False  # it sets up logging of its own, and silences whoever is there
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_every_module_of_ragtune_loads_without_the_heavy_libraries() -> None:
    modules = modules_of("ragtune")
    assert {"ragtune", "ragtune.mode", "ragtune.settings"} <= set(modules)
    assert loaded_by("\n".join(f"import {module}" for module in modules)) & HEAVY == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_itself_loads_nothing_heavy(package: str) -> None:
    assert loaded_by(f"import {package}") & HEAVY == set()


def test_the_command_line_can_show_its_help_without_the_heavy_libraries() -> None:
    assert loaded_by("\n".join(f"import {module}" for module in ("ragtune.cli", *command_modules()))) & HEAVY == set()


def test_adapters_is_ours_wherever_python_starts(tmp_path: Path) -> None:
    """A foreign distribution has a package of that name, too; ours must be found first outside this folder too."""
    ask = "import adapters; print(adapters.__file__)"
    done = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(ROOT / "adapters" / "__init__.py"), done.stderr


def test_the_scheduler_knows_no_torch_and_no_clock() -> None:
    """Scheduling is a function of what it is told: the same input gives the same batches, in tests as in service."""
    sources = (ROOT / "service" / "engine").glob("scheduler.py")
    imported = {module.partition(".")[0] for path in sources for module in imports_in(path)}
    assert imported & {"torch", "time", "datetime", "random"} == set()
