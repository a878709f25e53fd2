"""`ragtune template`: add, list and show prompt templates.

Works on the home directly, also beside a live server: the store is safe between processes, and the server looks the
current version up on every request.
"""

from pathlib import Path

import click

from ragtune.audit import AuditLog
from ragtune.errors import RefusedArtifact
from ragtune.mode import Ref
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.templates import TemplateManifest, Templates
from ragtune.terminal import person, print_json, print_table, say
from ragtune.versions import Version


@click.group()
def template() -> None:
    """Prompt templates, selected by prompt:NAME in a mode."""


@template.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON.")
def add(name: str, file: Path, as_json: bool) -> None:
    """Publish the TOML FILE as the new version of NAME.

    The same content again is no new version.

    \b
    Example:
      ragtune template add few-shot few-shot.toml
    """
    settings = Settings.load()
    version = _templates().add(name, _read(file), person())
    AuditLog(Database(settings.database)).command("template add", str(version))
    if as_json:
        print_json(_summary(version))
    else:
        say(f"template {version}, use it as prompt:{name}")


@template.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(as_json: bool) -> None:
    """The current version of every template.

    \b
    Example:
      ragtune template list
    """
    versions = _templates().versions.current()
    if as_json:
        print_json([_summary(version) for version in versions])
    elif versions:
        rows = [(v.name, v.number, len(v.manifest.template.examples), v.created) for v in versions]
        print_table(("template", "version", "examples", "created"), rows)
    else:
        say("no templates yet; add one with: ragtune template add NAME FILE")


@template.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the fields as JSON instead of the file.")
def show(name: str, as_json: bool) -> None:
    """The content of template NAME, or of NAME@VERSION.

    \b
    Example:
      ragtune template show few-shot@1
    """
    templates = _templates()
    version = templates.get(Ref.parse(name, "template"))
    if as_json:
        print_json(_summary(version) | version.manifest.template.model_dump(mode="json"))
    else:
        click.echo(templates.source(version), nl=False)


def _templates() -> Templates:
    settings = Settings.load()
    return Templates(settings.home, Database(settings.database))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedArtifact(f"cannot read template {file}: {error}") from error


def _summary(version: Version[TemplateManifest]) -> dict[str, object]:
    return {
        "name": version.name,
        "version": version.number,
        "sha256": version.manifest.sha256,
        "created": version.created,
    }
