"""The process that prepares adapters for a service: `python -m adapters.prover BASE_FOLDER CACHE BASE_ID`.

It is niced, has one thread, and keeps the base model it probes with, so that registering disturbs nobody. A line of
JSON on stdin is one job, a line on stdout its outcome. It ends when stdin closes, so it cannot outlive its service.
"""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from ragtune.errors import RagtuneError, StorageFull

if TYPE_CHECKING:
    from adapters.preparing import Preparing

_NICE = 5  # a fifth of a core beside a busy engine; at 19 it gets none at all while streams run (docs/log.md)
log = logging.getLogger("ragtune.prover")


class Job(BaseModel):
    """A folder to take an adapter from, and an empty one to stage it in."""

    source: Path
    staged: Path


class Outcome(BaseModel):
    """The manifest of a prepared adapter as JSON, or the code and message of the error that came instead."""

    manifest: str | None = None
    code: str = ""
    message: str = ""


def main() -> None:
    """Serve jobs until stdin closes."""
    os.nice(_NICE)  # before the heavy imports
    import torch

    from adapters.base_model import describe
    from adapters.preparing import Preparing

    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    folder, cache, model_id = sys.argv[1:]
    preparing = Preparing(describe(Path(folder), Path(cache), model_id))
    for line in sys.stdin:
        print(outcome(preparing, Job.model_validate_json(line)).model_dump_json(), file=answers, flush=True)


def outcome(preparing: "Preparing", job: Job) -> Outcome:
    """Do one job. A job that fails, fails alone."""
    try:
        return Outcome(manifest=preparing.prepare(job.source, job.staged).model_dump_json())
    except RagtuneError as error:
        return Outcome(code=error.code, message=error.message)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Outcome(code=StorageFull.code, message="the disk is full; nothing was published")
        log.exception("an adapter could not be prepared")
        return Outcome(code="refused_artifact", message=f"the adapter cannot be read: {error.strerror}")
    except Exception:
        log.exception("an adapter could not be prepared")
        return Outcome(code=RagtuneError.code, message="the adapter could not be prepared; the cause is in the log")


if __name__ == "__main__":
    main()
