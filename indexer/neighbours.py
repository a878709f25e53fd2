"""Passages that stand side by side in their document, joined into one. Plain Python.

A section cut into pieces is found in pieces; where two that touch were both found, the reader is better served by the
text as it stood. Spans say what touches: `gap` is the white space between a passage and the one before it in the same
section, an overlap is text that both hold.
"""

from collections.abc import Sequence

from indexer.record import Found


def joined(passages: Sequence[Found]) -> list[Found]:
    """`passages`, best first, neighbours joined: each run stands where its best passage stood, with that one's scores.

    The text is exactly the document's from the run's first character to its last. `id` is that of the first passage,
    `joined` are the ids of all, in order of the document.
    """
    runs: list[tuple[int, Found]] = []  # the best rank in the run, and the run so far
    for rank in sorted(range(len(passages)), key=lambda rank: _place(passages[rank])):
        passage = passages[rank]
        if runs and _touch(runs[-1][1], passage):
            best, run = runs[-1]
            runs[-1] = min(best, rank), _append(run, passage, passages[min(best, rank)])
        else:
            runs.append((rank, passage))
    return [run for _, run in sorted(runs, key=lambda ranked: ranked[0])]


def _place(passage: Found) -> tuple[str, str, int, int, int]:
    return passage.tenant, passage.document, passage.revision, passage.start, passage.end


def _touch(run: Found, passage: Found) -> bool:
    """Whether `passage` continues `run`: the same section, and either text in common or nothing but the gap between."""
    section = (run.tenant, run.document, run.revision, run.heading)
    if section != (passage.tenant, passage.document, passage.revision, passage.heading) or not passage.joins:
        return False
    if any(len(piece.text) != piece.end - piece.start for piece in (run, passage)):
        return False  # a text that is no span of its document, such as a table's part under a repeated head
    if passage.start > run.end:
        return passage.start == run.end + len(passage.gap)
    shared = run.text[passage.start - run.start :]
    return shared.startswith(passage.text) or passage.text.startswith(shared)


def _append(run: Found, passage: Found, best: Found) -> Found:
    between = passage.gap if passage.start > run.end else ""
    return run.model_copy(
        update={
            "text": run.text + between + passage.text[max(0, run.end - passage.start) :],
            "end": max(run.end, passage.end),
            "joined": (*(run.joined or (run.id,)), passage.id),
            "score": best.score,
            "scores": best.scores,
        }
    )
