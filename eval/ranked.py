"""Documents in the order they were retrieved: of an answer's passages, or of a search without an answer."""

import time
from collections.abc import Sequence

from eval.asking import Asked, Outcome
from eval.client import Service
from eval.runfile import Reply, Shown, Used
from ragtune.mode import Mode
from ragtune.wire import Passage, Timings

DOCUMENTS = 10
"""Of a search without an answer so many documents are looked at, each by its best passage."""
_PASSAGES = 50  # searched, as several may be of one document


def ranking(passages: Sequence[Shown]) -> tuple[str, ...]:
    """The documents of passages, best first, each once. The order of a prompt may be another."""
    best_first = sorted(passages, key=lambda passage: -passage.score)
    return tuple(dict.fromkeys(passage.document for passage in best_first))


async def search(service: Service, asked: Asked) -> Outcome:
    """The best passage of each of the first documents that are found, as a reply without a text."""
    index = str(Mode.parse(asked.mode).index)
    began = time.monotonic()
    found, outcome = await service.search(index, {"query": asked.query, "top_k": _PASSAGES})
    if found is None:
        return outcome
    best: dict[str, Passage] = {}
    for passage in found:
        best.setdefault(passage.document, passage)
    milliseconds = round(1e3 * (time.monotonic() - began), 2)
    return Outcome(
        Reply(
            id="",
            text="",
            finish_reason="stop",
            resolved_mode=asked.mode,
            versions={"index": index},
            passages=tuple(
                Shown(id=one.id, document=one.document, text=one.text, number=number, score=one.score)
                for number, one in enumerate(list(best.values())[:DOCUMENTS], start=1)
            ),
            usage=Used(prompt_tokens=0, completion_tokens=0),
            timings=Timings(retrieval_ms=milliseconds, total_ms=milliseconds),
        ),
        retries=outcome.retries,
    )
