"""`ragtune adapter`."""

from pathlib import Path

import click

from adapters.following import follow
from adapters.manifest import AdapterManifest
from ragtune.audit import AuditLog
from ragtune.mode import Ref, check_alias, check_name
from ragtune.mode_aliases import ModeAliases
from ragtune.pinned import Pinned
from ragtune.pointers import ITSELF
from ragtune.remote import ask_server
from ragtune.roots import real_path
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import person, print_json, print_table, say, show
from ragtune.versions import Version, Versions

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def adapter() -> None:
    """Adapters: what PEFT writes (LoRA, soft prompts, prefixes and more), and fine-tuned checkpoints."""


@adapter.command()
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@as_json_option
def add(name: str, source: Path, as_json: bool) -> None:
    """Check the adapter or fine-tuned checkpoint in SOURCE and publish it as the next version of NAME.

    \b
    Example:  ragtune adapter add support-lora runs/support-lora
              ragtune adapter add support-lora support-lora.zip

    SOURCE is a folder that save_pretrained of PEFT or of transformers wrote, or an archive of one: a zip or a tar
    (plain or gzipped) with one adapter, at its top or in one folder. A running service has it with the next request.
    RAGTUNE_ADAPTER_ROOTS binds HTTP only: whoever sits at this terminal may name any folder.
    """
    from adapters.archive import unpack
    from adapters.base_model import locate_base_model
    from adapters.member import Limits
    from adapters.registry import Adapters

    settings = Settings.load()
    database = Database(settings.database)
    adapters = Adapters(settings.home, database, locate_base_model(settings), roots=None)
    ignored: list[str] = []
    if real_path(source).is_file():
        with adapters.versions.staging() as staged:
            ignored = unpack(source, staged, Limits(settings.max_upload))
            version = adapters.add(name, staged, person())
    else:
        version = adapters.add(name, source, person())
    AuditLog(database).command("adapter add", str(version))
    follow(settings, name)
    manifest = version.manifest
    if as_json:
        print_json({"version": str(version), "manifest": manifest, "ignored": ignored})
    else:
        if ignored:
            say(f"left out: {', '.join(ignored[:10])}{' ...' if len(ignored) > 10 else ''}")
        show(f"published {version}: {_summary(manifest)}")


@adapter.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """All versions of all adapters; a star marks the one a bare name means, beside it stand the aliases."""
    versions = [v for name in _versions().names() for v in _versions().of(name)]
    if as_json:
        print_json(
            [
                {
                    "version": str(v),
                    "current": v.current,
                    "aliases": v.aliases,
                    "created": v.created,
                    "author": v.author,
                    "manifest": v.manifest,
                }
                for v in versions
            ]
        )
        return
    if not versions:
        say("no adapter yet; train one with 'ragtune train', or add one with 'ragtune adapter add NAME SOURCE'")
        return
    rows = [
        (
            f"{v}{' *' if v.current else ''}",
            ", ".join(v.aliases),
            v.manifest.method,
            f"{v.manifest.parameters:,}",
            f"{v.manifest.memory / 1e6:.1f} MB",
            v.manifest.base,
            _effect(v.manifest),
            v.created,
        )
        for v in versions
    ]
    print_table(("version", "aliases", "method", "parameters", "memory", "base", "effect", "created"), rows)


@adapter.command("alias")
@click.argument("version")
@click.argument("alias")
@click.option("--remove", "away", is_flag=True, help="Take the alias away instead; VERSION is just the name.")
@as_json_option
def alias_(version: str, alias: str, away: bool, as_json: bool) -> None:
    """Let ALIAS mean VERSION: NAME@2, NAME@OTHER-ALIAS, or NAME for its current version.

    \b
    Example:  ragtune adapter alias support-lora@2 prod

    Requests then say support-lora@prod. A running service follows with the next request; those in flight keep theirs.
    """
    ref, versions = Ref.parse(version, "adapter"), _versions()
    if away and ref.version is not None:
        raise click.UsageError(
            f"an alias is taken away from the name: ragtune adapter alias {ref.name} {alias} --remove"
        )
    if away:
        gone = versions.remove_alias(ref.name, alias)
        _audited("adapter alias --remove", ref.name, alias)
        _tell(gone, as_json, f"removed {gone.name}@{alias}, which meant {gone}")
        return
    meant = versions.set_alias(ref.name, alias, versions.resolve(ref).number, author=person())
    _audited("adapter alias", str(meant), alias)
    _tell(meant, as_json, f"{meant.name}@{alias} now means {meant}")


@adapter.command()
@click.argument("name")
@click.option("--alias", help="Roll this alias back, and not the current version.")
@as_json_option
def rollback(name: str, alias: str | None, as_json: bool) -> None:
    """Let NAME mean again the version it meant before; again goes further back.

    \b
    Example:  ragtune adapter rollback support-lora --alias prod
    """
    check_name(name, "adapter")
    settings = Settings.load()
    if ask_server(settings, "POST", f"/v1/adapters/{name}/rollback", {"alias": alias}) is None:
        _versions().rollback(name, ITSELF if alias is None else check_alias(alias))
        _audited("adapter rollback", str(Ref(name, alias)))
    meant = _versions().resolve(Ref(name, alias))
    _tell(meant, as_json, f"{Ref(name, alias)} now means {meant}")


@adapter.command("pin")
@click.argument("name")
@click.option("--off", is_flag=True, help="Let it leave memory again when it is not used.")
def pin_(name: str, off: bool) -> None:
    """Keep adapter NAME in a service's memory, whichever version it means, also after a restart.

    \b
    Example:  ragtune adapter pin support-lora
    """
    settings = Settings.load()
    _versions().of(name)
    if ask_server(settings, "DELETE" if off else "PUT", f"/v1/adapters/{name}/pin") is None:
        pinned = Pinned(Database(settings.database), "adapter")
        (pinned.remove if off else pinned.add)(name)
        _audited("adapter unpin" if off else "adapter pin", name)
    say(f"{name} {'may leave memory when it is not used' if off else 'stays in memory'}")


@adapter.command("export")
@click.argument("ref", metavar="NAME[@VERSION]")
@click.argument("target", type=click.Path(path_type=Path))
@as_json_option
def export_(ref: str, target: Path, as_json: bool) -> None:
    """Write an adapter to TARGET as plain PEFT or transformers loads it: a new or empty folder, or a new .zip file.

    \b
    Example:  ragtune adapter export support-lora ./support-lora
              ragtune adapter export support-lora@2 support-lora.zip
    """
    from adapters.base_model import locate_base_model
    from adapters.export import export

    version = _versions().resolve(Ref.parse(ref, "adapter"))
    base = locate_base_model(Settings.load()) if version.manifest.kind == "checkpoint" else None
    files = export(version, target, base)
    if as_json:
        print_json({"version": str(version), "target": str(target), "files": files})
    else:
        show(f"exported {version} to {target}: {', '.join(files)}")


@adapter.command("bill")
@click.argument("ref", metavar="NAME[@VERSION]")
@as_json_option
@click.option("--markdown", is_flag=True, help="Print the whole page, with files and hashes, as Markdown.")
def bill_(ref: str, as_json: bool, markdown: bool) -> None:
    """What training an adapter cost, what it reached, and whether it overfits or forgets.

    \b
    Example:  ragtune adapter bill support-lora
              ragtune adapter bill support-lora@2 --markdown > bill.md

    The loss as a plot is in the folder of the training's run, in runs/ of RAGTUNE_HOME.
    """
    from adapters.bill import bill_rows
    from adapters.bill_page import bill_page

    if as_json and markdown:
        raise click.UsageError("say either --json or --markdown")
    version = _versions().resolve(Ref.parse(ref, "adapter"))
    record = version.manifest.training
    if as_json:
        print_json({"version": str(version), "training": record})
    elif record is None:
        say(f"{version} has no bill: it was added without a record of its training")
    elif markdown:
        show(bill_page(record, version.folder, str(version)).removesuffix("\n"))
    else:
        print_table(("", ""), bill_rows(record), title=f"Bill of {version}")


@adapter.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete adapter NAME with all its versions and aliases, or one version, NAME@2, that nothing points to.

    A running service lets the requests that use it finish, and frees its memory.
    """
    ref, versions = Ref.parse(name, "adapter"), _versions()
    going = versions.of(ref.name) if ref.version is None else [versions.resolve(ref)]
    if not yes:
        click.confirm(f"delete {', '.join(map(str, going))}?", abort=True)
    settings = Settings.load()
    if ask_server(settings, "DELETE", f"/v1/adapters/{ref}") is None:
        if ref.version is not None:
            ModeAliases(Database(settings.database)).check_unused(ref.name, going[0].number)
        for version in versions.forget(ref):
            versions.discard(version)
        AuditLog(Database(settings.database)).command("adapter remove", str(ref))
    say(f"deleted {', '.join(map(str, going))}")


def _tell(version: Version[AdapterManifest], as_json: bool, words: str) -> None:
    if as_json:
        print_json({"version": str(version), "current": version.current, "aliases": version.aliases})
    else:
        say(words)


def _versions() -> Versions[AdapterManifest]:
    settings = Settings.load()
    return Versions(settings.home, Database(settings.database), "adapter", AdapterManifest)


def _audited(*words: str) -> None:
    """Write down what this command changed by itself."""
    AuditLog(Database(Settings.load().database)).command(*words)


def _summary(manifest: AdapterManifest) -> str:
    """What a person wants to know of an adapter that was just published."""
    size = f"{manifest.parameters:,} parameters, {manifest.memory / 1e6:.1f} MB in memory"
    return f"{manifest.method}, {size}, base: {manifest.base}, effect on logits: {_effect(manifest)}"


def _effect(manifest: AdapterManifest) -> str:
    """How far the probe's logits were from the base model's, in words where that is nothing."""
    if manifest.proof is None:
        return "not probed"
    return "NONE: it changes nothing" if manifest.proof.inert else f"{manifest.proof.effect:.2g}"
