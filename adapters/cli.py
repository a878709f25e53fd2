"""`ragtune adapter` and `ragtune train`."""

from pathlib import Path

import click

from adapters.manifest import AdapterManifest
from ragtune.home import live_server
from ragtune.mode import Ref
from ragtune.remote import call
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import print_json, print_table, results, say
from ragtune.versions import Versions

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def adapter() -> None:
    """Adapters: LoRA, soft prompts and prefixes in PEFT's format."""


@adapter.command()
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@as_json_option
def add(name: str, source: Path, as_json: bool) -> None:
    """Check the PEFT adapter in SOURCE, a folder or an archive, and publish it as the next version of NAME.

    \b
    Example:  ragtune adapter add support-lora runs/support-lora
              ragtune adapter add support-lora support-lora.zip

    An archive is a zip or a tar (plain or gzipped) with one adapter, at its top or in one folder. A running service
    has the adapter with the next request. RAGTUNE_ADAPTER_ROOTS binds HTTP only: whoever sits at this terminal may
    name any folder.
    """
    from adapters.archive import unpack
    from adapters.base_model import locate_base_model
    from adapters.member import Limits
    from adapters.registry import Adapters

    settings = Settings.load()
    adapters = Adapters(settings.home, Database(settings.database), locate_base_model(settings), roots=None)
    ignored: list[str] = []
    if source.is_file():
        with adapters.versions.staging() as staged:
            ignored = unpack(source, staged, Limits(settings.max_upload))
            version = adapters.add(name, staged)
    else:
        version = adapters.add(name, source)
    manifest = version.manifest
    if as_json:
        print_json({"version": str(version), "manifest": manifest, "ignored": ignored})
    else:
        if ignored:
            say(f"left out: {', '.join(ignored[:10])}{' ...' if len(ignored) > 10 else ''}")
        size = f"{manifest.parameters:,} parameters, {manifest.bytes / 1e6:.1f} MB"
        results.print(f"published {version}: {manifest.method}, {size}, base: {manifest.base}", markup=False)


@adapter.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """All versions of all adapters; a star marks the one a bare name means."""
    versions = [v for name in _versions().names() for v in _versions().of(name)]
    if as_json:
        print_json(
            [{"version": str(v), "current": v.current, "created": v.created, "manifest": v.manifest} for v in versions]
        )
        return
    if not versions:
        say("no adapter yet; train one with 'ragtune train', or add one with 'ragtune adapter add NAME SOURCE'")
        return
    rows = [
        (f"{v}{' *' if v.current else ''}", v.manifest.method, v.manifest.parameters, v.manifest.base, v.created)
        for v in versions
    ]
    print_table(("version", "method", "parameters", "base", "created"), rows)


@adapter.command("export")
@click.argument("ref", metavar="NAME[@VERSION]")
@click.argument("target", type=click.Path(path_type=Path))
@as_json_option
def export_(ref: str, target: Path, as_json: bool) -> None:
    """Write an adapter to TARGET as plain PEFT loads it: a new or empty folder, or a new .zip file.

    \b
    Example:  ragtune adapter export support-lora ./support-lora
              ragtune adapter export support-lora@2 support-lora.zip
    """
    from adapters.export import export

    version = _versions().resolve(Ref.parse(ref, "adapter"))
    files = export(version, target)
    if as_json:
        print_json({"version": str(version), "target": str(target), "files": files})
    else:
        results.print(f"exported {version} to {target}: {', '.join(files)}", markup=False)


@adapter.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete adapter NAME with all its versions; a running service frees its memory."""
    versions = _versions().of(name)
    if not yes:
        click.confirm(f"delete {len(versions)} version(s) of adapter {name!r}?", abort=True)
    server = live_server(Settings.load().home)
    if server:
        call("DELETE", server, f"/v1/adapters/{name}")
    else:
        _versions().delete(name)
    say(f"deleted {name}: {len(versions)} version(s)")


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@as_json_option
def train(recipe: Path, as_json: bool) -> None:
    """Train the adapter that the TOML file RECIPE describes, and publish it.

    \b
    A recipe:
      name = "support-lora"        # the adapter it becomes
      method = "lora"              # or prompt_tuning
      train = "train.jsonl"        # {"id", "query", "answers": [...]} a line; relative to the recipe
      index = "handbook"           # optional: train on retrieved passages, as +rag serves them
    \b
    Example:  ragtune train support-lora.toml
    """
    from adapters.train import mode_of, train_from_file

    version = train_from_file(recipe, Settings.load())
    record = version.manifest.training
    if as_json:
        print_json({"version": str(version), "manifest": version.manifest})
    elif record is not None:
        results.print(
            f"published {version}: {record.method}, {record.steps} steps on {record.examples} examples in "
            f"{record.seconds:.0f} s, last loss {record.final_loss:.3f}, "
            f"{record.trainable_parameters:,} parameters, {version.manifest.bytes / 1e6:.1f} MB",
            markup=False,
        )
        results.print(f"ask it:  ragtune query '...' --mode {mode_of(version)}", markup=False)


def _versions() -> Versions[AdapterManifest]:
    settings = Settings.load()
    return Versions(settings.home, Database(settings.database), "adapter", AdapterManifest)
