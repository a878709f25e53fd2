"""`ragtune index`: build, sync, documents, search, versions, rollback, delete."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexer.store import Indexes, IndexManifest, resource
from ragtune.audit import AuditLog
from ragtune.errors import IncompatibleParts, InvalidRequest
from ragtune.mode import Ref, check_name
from ragtune.remote import ask_server
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import person, print_json, print_table, progress, say, show
from ragtune.versions import Version

if TYPE_CHECKING:
    from indexer.building import BuildSpec

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
named = click.option("--name", required=True, help="The index's name, as in rag:NAME.")
longest = click.option(
    "--max-tokens", type=click.IntRange(32, 8192), help="Longest passage, in tokens; as in the last version, or 150."
)
docs_folder = click.argument("docs", type=click.Path(path_type=Path))


@click.group()
def index() -> None:
    """Knowledge indexes: what a mode with 'rag' retrieves from."""


@index.command()
@docs_folder
@named
@longest
@as_json
def build(docs: Path, name: str, max_tokens: int | None, as_json: bool) -> None:
    """Index the documents below DOCS as a new version. Only what changed since the last one is read and embedded.

    Documents that are gone from DOCS are not in the new version; former versions keep them. One that was ended goes on
    where it was when it is started again.

    \b
    Example:  ragtune index build docs/ --name handbook
    """
    _build(docs, name, max_tokens, as_json, hide=False)


@index.command()
@docs_folder
@named
@longest
@click.option("--yes", is_flag=True, help="Do not ask, however many documents are gone.")
@as_json
def sync(docs: Path, name: str, max_tokens: int | None, yes: bool, as_json: bool) -> None:
    """The same as build, but documents that are gone from DOCS are deleted: hidden in every version.

    Asks first where that is more than half of them, as it is for a folder given by mistake.

    \b
    Example:  ragtune index sync docs/ --name handbook
    """
    from indexer.syncing import leaving

    gone, of = leaving(docs, check_name(name, "index"), _indexes(Settings.load()).documents)
    if 2 * gone > of and not yes:
        click.confirm(f"{gone} of {of} documents of {name!r} are not below {docs}: delete them?", abort=True)
    _build(docs, name, max_tokens, as_json, hide=True)


@index.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", default="", help="Whose documents they are; by default everybody's.")
@as_json
def add(name: str, files: tuple[Path, ...], tenant: str, as_json: bool) -> None:
    """Add FILES to index NAME, or replace them, and build its next version. A file's name is its document's id.

    They stay until they are removed, also where NAME is built from a folder.

    \b
    Example:  ragtune index add handbook manuals/pump.pdf
    """
    from indexer.building import BuildSpec
    from indexer.uploading import check_file_id, read_upload, store_uploads

    settings = Settings.load()
    check_name(name, "index")
    for file in files:
        check_file_id(file.name)
    if len({file.name for file in files}) < len(files):
        raise InvalidRequest("two of the files have the same name, and a file's name is its document's id")
    uploads = [read_upload(file, file.name) for file in files]
    stored = store_uploads(_indexes(settings).documents, name, tenant, person(), uploads)
    AuditLog(Database(settings.database)).command("index add", name, *stored.changes)
    for problem in stored.problems:
        say(f"not stored: {problem.source}: {problem.reason}")
    _run(BuildSpec(index=name), settings, as_json, tenant=tenant)


@index.command()
@click.argument("job")
@as_json
def resume(job: str, as_json: bool) -> None:
    """Go on with a build that has failed or was cancelled; what it has embedded is not embedded again.

    \b
    Example:  ragtune index resume job-4f2a91c07d
    """
    from indexer.building import JOB, BuildSpec
    from ragtune.jobs import Jobs

    settings = Settings.load()
    before = Jobs(Database(settings.database), settings.home).get(job)
    if before.kind != JOB:
        raise IncompatibleParts(f"{job} is no build of an index but a {before.kind}")
    _run(BuildSpec.model_validate(before.spec), settings, as_json, tenant=before.tenant, resumes=job)


@index.command("list")
@as_json
def list_(as_json: bool) -> None:
    """All versions of all indexes; a star marks the one a bare name means."""
    indexes = _indexes(Settings.load())
    versions = [v for name in indexes.versions.names() for v in indexes.versions.of(name)]
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
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="Documents at most.")
@as_json
def documents(name: str, limit: int, as_json: bool) -> None:
    """The documents that the next version of NAME is built from."""
    indexes = _indexes(Settings.load())
    found = indexes.documents.page(check_name(name, "index"), None, None, limit)
    if not found:
        indexes.versions.of(name)  # an unknown name is told as such
    if as_json:
        print_json([document.__dict__ for document in found])
        return
    rows = [(d.id, d.title, d.characters, d.source, d.tenant, d.added) for d in found]
    print_table(("id", "title", "characters", "source", "tenant", "added"), rows)


@index.command()
@click.argument("name")
@click.argument("ids", nargs=-1, required=True)
@click.option("--tenant", default="", help="Whose documents; by default those of no tenant.")
def remove(name: str, ids: tuple[str, ...], tenant: str) -> None:
    """Delete documents of index NAME by their IDS: no search shows them again, in any version.

    \b
    Example:  ragtune index remove handbook policies/old-returns.md
    """
    from indexer.deleting import delete_document

    settings = Settings.load()
    indexes = _indexes(settings)
    for document in ids:
        delete_document(indexes, check_name(name, "index"), tenant, document)
        AuditLog(Database(settings.database)).command("index remove", name, document)
        say(f"deleted {document}: no search of any version of {name} shows it")


@index.command()
@click.argument("name")
@click.argument("query")
@click.option("--top-k", default=4, show_default=True, type=click.IntRange(1, 1000), help="Passages at most.")
@click.option(
    "--retrieval",
    type=click.Choice(["dense", "lexical", "hybrid"]),
    metavar="LEG",
    help="dense: by meaning; lexical: by words; hybrid: both. By default as set.",
)
@as_json
def search(name: str, query: str, top_k: int, retrieval: str | None, as_json: bool) -> None:
    """The passages of index NAME that fit QUERY best, with the score of each leg.

    \b
    Example:  ragtune index search handbook "how long is the warranty?"
    """
    from indexer.embedding import load_embedder
    from indexer.rerank import load_reranker
    from indexer.retriever import Retriever
    from indexer.search import Search
    from ragtune.wire import Retrieving

    settings = Settings.load()
    indexes = _indexes(settings)
    version = indexes.resolve(Ref.parse(name, "index"))
    asked = Search.under(settings, query, Retrieving.model_validate({"retrieval": retrieval}))
    asked = asked.model_copy(update={"top_k": top_k})
    embedder = None if asked.method == "lexical" else load_embedder(settings)
    passages = Retriever(embedder, load_reranker(settings), hidden=indexes.documents.hidden).search(version, asked)
    if as_json:
        print_json(passages)
        return
    if not passages:
        say(f"no passage of {version} fits")
    for number, passage in enumerate(passages, start=1):
        place = f"{passage.document}:{passage.start}-{passage.end}"
        legs = ", ".join(f"{leg} {score:.3f}" for leg, score in passage.scores.items())
        show(f"[{number}] {legs}  {' > '.join(passage.heading)}  ({place})")
        show(f"    {' '.join(passage.text.split())}\n")


@index.command()
@click.argument("name")
def rollback(name: str) -> None:
    """Let NAME mean again the version it meant before. What was deleted since stays deleted.

    \b
    Example:  ragtune index rollback handbook
    """
    settings = Settings.load()
    meant = _indexes(settings).versions.rollback(check_name(name, "index"))
    AuditLog(Database(settings.database)).command("index rollback", str(meant))
    say(f"{name} means {meant} now")


@index.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete index NAME with all its versions and documents."""
    from indexer.deleting import forget_index
    from ragtune.jobs import Jobs

    settings = Settings.load()
    indexes = _indexes(settings)
    built = check_name(name, "index") in indexes.versions.names()
    versions = [] if not built and name in indexes.documents.indexes() else indexes.versions.of(name)
    if not yes:
        click.confirm(f"delete {len(versions)} version(s) of index {name!r}?", abort=True)
    if ask_server(settings, "DELETE", f"/v1/indexes/{name}") is None:  # a server lets who searches it finish
        jobs = Jobs(Database(settings.database), settings.home)
        for version in forget_index(indexes, jobs, name, person()):
            indexes.versions.discard(version)
        AuditLog(Database(settings.database)).command("index delete", name)
    say(f"deleted {name}: {len(versions)} version(s)")


def _build(docs: Path, name: str, max_tokens: int | None, as_json: bool, hide: bool) -> None:
    from indexer.building import BuildSpec  # the other commands do without
    from indexer.folder import find_files

    check_name(name, "index")
    find_files(docs)  # a wrong path is told before there is a job
    spec = BuildSpec(index=name, path=str(docs.absolute()), max_tokens=max_tokens, hide=hide)
    _run(spec, Settings.load(), as_json)


def _run(spec: "BuildSpec", settings: Settings, as_json: bool, tenant: str = "", resumes: str | None = None) -> None:
    from indexer.building import JOB, carry_out
    from indexer.model import Model
    from ragtune.jobs import Jobs

    name, hide = spec.index, spec.hide
    database = Database(settings.database)
    indexes = Indexes(settings.home, database)
    indexes.versions.collect_staging()
    model = Model.of(settings)
    jobs = Jobs(database, settings.home)
    with (
        jobs.run(
            JOB, resource(name), spec.model_dump(mode="json"), author=person(), tenant=tenant, resumes=resumes
        ) as running,
        progress(f"building {name}", None) as bar,
    ):
        done = carry_out(running, indexes, model, bar)
    _collect(indexes, name, settings)
    version, manifest = done.built.version, done.built.version.manifest
    AuditLog(database).command("index sync" if hide else "index build", str(version))
    if as_json:
        told = {"unchanged": done.built.unchanged, "problems": list(done.built.problems)}
        print_json({"version": str(version), **told, "manifest": manifest})
        return
    for problem in done.built.problems:
        say(f"not indexed: {problem.source}: {problem.reason}")
    if done.synced is not None and done.synced.gone:
        what = "deleted, in every version" if hide else "no longer in the index; former versions keep them"
        say(f"gone from the folder, {what}: {_count(done.synced.gone, 'document')}")
    counts = f"{_count(manifest.documents, 'document')}, {_count(manifest.passages, 'passage')}"
    if done.built.unchanged:
        show(f"{version} is up to date: {counts}")
    else:
        show(f"published {version}: {counts}, {manifest.embedded} embedded, in {manifest.seconds:.1f} s")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _collect(indexes: Indexes, name: str, settings: Settings) -> None:
    """Delete former versions beyond those that are kept; where a server lives, requests may still hold them, so it
    does that at its next build or start."""
    from indexer.outdated import outdated
    from ragtune.home import live
    from ragtune.mode_aliases import ModeAliases

    if live(settings.home) is not None:
        return
    aliases = ModeAliases(Database(settings.database))
    for version in outdated(indexes, aliases, name, settings):
        for gone in indexes.versions.forget(Ref(name, str(version.number))):
            indexes.versions.discard(gone)


def _indexes(settings: Settings) -> Indexes:
    return Indexes(settings.home, Database(settings.database))


def _described(version: Version[IndexManifest]) -> dict[str, object]:
    return {
        "version": str(version),
        "current": version.current,
        "created": version.created,
        **version.manifest.model_dump(mode="json"),
    }
