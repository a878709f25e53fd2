"""One build as a job: the folder's documents taken in, if one is given, then the version built.

    python -m indexer.building --job ID

The service starts it so, niced and on one thread.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from indexer.build import TOGETHER, Built, Watch, build
from indexer.deleting import hide_gone
from indexer.model import Model
from indexer.store import Indexes
from indexer.syncing import Synced, sync
from ragtune.errors import Cancelled, RagtuneError
from ragtune.job import Kind
from ragtune.jobs import Jobs
from ragtune.running_job import RunningJob
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import Task

JOB: Kind = "index build"
_UNITS = {"reading": "files", "splitting": "documents"}


class BuildSpec(BaseModel):
    """What a build is asked to do: with `path`, the documents become those below it.

    `max_tokens` is the longest passage; None is as in the current version. `hide`: what is gone from the folder is
    deleted, and so hidden in every version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: str
    path: str | None = None
    max_tokens: int | None = Field(default=None, ge=32, le=8192)
    hide: bool = False


@dataclass(frozen=True)
class Finished:
    """What a build came to, and what its folder brought."""

    built: Built
    synced: Synced | None


def carry_out(running: RunningJob, indexes: Indexes, model: Model, bar: Task | None = None) -> Finished:
    """Do the job. Raises RefusedArtifact if there is nothing to index, Cancelled if the job is to stop."""
    job = running.job

    def watch(stage: str, done: int, total: int) -> None:
        if bar is not None:
            bar.stage(stage, done, total)
        running.progress(done, total or None, unit=_UNITS.get(stage, "passages"), stage=stage)

    spec = BuildSpec.model_validate(job.spec)
    finished = build_from(spec, indexes, model, watch, tenant=job.tenant, author=job.author)
    running.result = {"version": str(finished.built.version), "unchanged": finished.built.unchanged}
    if finished.built.problems:  # how many: which they are is not every tenant's business
        running.result |= {"problems": len(finished.built.problems)}
    return finished


def build_from(
    spec: BuildSpec,
    indexes: Indexes,
    model: Model,
    watch: Watch = lambda _stage, _done, _total: None,
    *,
    tenant: str = "",
    author: str = "",
    together: int = TOGETHER,
) -> Finished:
    """What the job does, without being one: only one process at a time may do this to an index."""
    synced = None
    if spec.path is not None:
        synced = sync(
            Path(spec.path),
            spec.index,
            indexes.documents,
            tenant=tenant,
            author=author,
            advance=lambda done, total: watch("reading", done, total),
        )
        if spec.hide:
            hide_gone(indexes, spec.index, tenant)
    return Finished(build(spec.index, indexes, model, spec.max_tokens, watch, author, together), synced)


def main() -> None:
    """Entry point of `python -m indexer.building`; what went wrong stands in the job."""
    parser = argparse.ArgumentParser(description="Do a build that the service has queued.")
    parser.add_argument("--job", required=True)
    settings = Settings.load()
    database = Database(settings.database)
    indexes = Indexes(settings.home, database)
    indexes.versions.collect_staging()
    try:
        with Jobs(database, settings.home).take(parser.parse_args().job) as running:
            carry_out(running, indexes, Model.of(settings))
    except (RagtuneError, Cancelled) as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
