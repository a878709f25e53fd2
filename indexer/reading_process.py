"""The process that runs other people's parsers: `python -P -m indexer.reading_process SECONDS BYTES`.

A line of JSON on stdin is a file, a line on stdout what it holds. It may take that many seconds a file and that much
memory, and dies if it needs more; it ends when stdin closes, so it cannot outlive the one who started it.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path

from pydantic import TypeAdapter

from indexer.documents import Document, Problem
from indexer.formats import load
from ragtune.errors import RefusedArtifact

OUT_OF_MEMORY = 3  # exit status
ANSWER: TypeAdapter[list[Document | Problem]] = TypeAdapter(list[Document | Problem])


def main() -> None:
    """Serve files until stdin closes."""
    seconds, memory = int(sys.argv[1]), int(sys.argv[2])
    with contextlib.suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # whatever a library prints is no answer
    for line in sys.stdin:
        signal.alarm(seconds)  # unhandled, so it ends us even when nobody is left who would
        try:
            answer = ANSWER.dump_json(outcome(*json.loads(line)))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # what is left of it would be too little for the next file
        answers.write(answer + b"\n")
        answers.flush()
        signal.alarm(0)


def outcome(file_format: str, path: str, name: str) -> list[Document | Problem]:
    """What the file holds. Parsers of damaged files raise whatever they like. Raises MemoryError."""
    try:
        return list(load(file_format).read(Path(path), name))
    except RefusedArtifact as error:
        reason = error.message
    except MemoryError:
        raise
    except RecursionError:
        reason = "is nested too deeply"
    except OSError as error:
        reason = error.strerror or "cannot be opened"
    except Exception as error:  # noqa: BLE001
        reason = f"is damaged: {type(error).__name__}: {str(error)[:200]}"
    return [Problem(source=name, reason=reason)]


if __name__ == "__main__":
    main()
