"""`ragtune index`: build, list, search, delete."""

from pathlib import Path

import click

from indexer.search import Search
from indexer.store import Indexes, IndexManifest
from ragtune.audit import AuditLog
from ragtune.mode import Ref
from ragtune.remote import ask_server
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import print_json, print_table, say, show
from ragtune.versions import Version

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def index() -> None:
    """Knowledge indexes: what a mode with 'rag' retrieves from."""


@index.command()
@click.argument("docs", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The index's name, as in rag:NAME.")
@click.option(
    "--max-tokens", default=150, show_default=True, type=click.IntRange(32), help="Longest passage, in tokens."
)
@as_json
def build(docs: Path, name: str, max_tokens: int, as_json: bool) -> None:
    """Index the .md, .txt and .jsonl files below DOCS as a new version.

    \b
    Example:  ragtune index build docs/ --name handbook
    """
    from indexer.build import build_with_progress  # brings torch; the other commands do without

    settings = Settings.load()
    built = build_with_progress(docs, name, settings, max_tokens)
    AuditLog(Database(settings.database)).command("index build", str(built.version))
    manifest = built.version.manifest
    if as_json:
        print_json({"version": str(built.version), "unchanged": built.unchanged, "manifest": manifest})
        return
    for problem in manifest.problems:
        say(f"not indexed: {problem.source}: {problem.reason}")
    counts = f"{manifest.documents} documents, {manifest.passages} passages"
    if built.unchanged:
        show(f"{built.version} is up to date: {counts}")
    else:
        rate = manifest.passages / max(manifest.seconds, 1e-9)
        show(f"published {built.version}: {counts} in {manifest.seconds:.1f} s ({rate:.0f} passages/s)")


@index.command("list")
@as_json
def list_(as_json: bool) -> None:
    """All versions of all indexes; a star marks the one a bare name means."""
    versions = [v for name in _indexes().versions.names() for v in _indexes().versions.of(name)]
    if as_json:
        print_json([_described(version) for version in versions])
    elif not versions:
        say("no index yet; build one with 'ragtune index build DOCS --name NAME'")
    else:
        rows = [
            (f"{v}{' *' if v.current else ''}", v.manifest.documents, v.manifest.passages, v.created) for v in versions
        ]
        print_table(("version", "documents", "passages", "built"), rows)


@index.command()
@click.argument("name")
@click.argument("query")
@click.option("--top-k", default=4, show_default=True, type=click.IntRange(1, 100), help="Passages at most.")
@as_json
def search(name: str, query: str, top_k: int, as_json: bool) -> None:
    """The passages of index NAME nearest to QUERY.

    \b
    Example:  ragtune index search handbook "how long is the warranty?"
    """
    from indexer.embedding import load_embedder
    from indexer.rerank import load_reranker
    from indexer.retriever import Retriever

    settings = Settings.load()
    version = _indexes().resolve(Ref.parse(name, "index"))
    embedder = None if settings.retrieval == "lexical" else load_embedder(settings)
    retriever = Retriever(embedder, load_reranker(settings))
    passages = retriever.search(version, Search.under(settings, query, top_k))
    if as_json:
        print_json(passages)
        return
    for number, passage in enumerate(passages, start=1):
        place = f"{passage.document}:{passage.start}-{passage.end}"
        show(f"[{number}] {passage.score:.3f}  {' > '.join(passage.heading)}  ({place})")
        show(f"    {' '.join(passage.text.split())}\n")


@index.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete index NAME with all its versions."""
    settings = Settings.load()
    versions = _indexes().versions.of(name)
    if not yes:
        click.confirm(f"delete {len(versions)} version(s) of index {name!r}?", abort=True)
    if ask_server(settings, "DELETE", f"/v1/indexes/{name}") is None:  # a server lets who searches it finish
        _indexes().versions.delete(name)
        AuditLog(Database(settings.database)).command("index delete", name)
    say(f"deleted {name}: {len(versions)} version(s)")


def _indexes() -> Indexes:
    settings = Settings.load()
    return Indexes(settings.home, Database(settings.database))


def _described(version: Version[IndexManifest]) -> dict[str, object]:
    return {
        "version": str(version),
        "current": version.current,
        "created": version.created,
        **version.manifest.model_dump(mode="json"),
    }
