"""What a version is put to before anybody sees it: opened as searches open it, and asked for its own passages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexer.contents import Contents
from indexer.embedding import Vectors
from indexer.lexical import best
from indexer.record import Record
from indexer.search import Search, nothing
from indexer.store import Checks
from indexer.visibility import Visible
from ragtune.errors import RefusedArtifact

_CANARIES = 32
_FIRST = 10
_ROUNDING = 1e-4  # of a cosine


def check(folder: Path, records: Sequence[Record], vectors: Vectors) -> Checks:
    """Look for some passages, spread over the version, by their own vectors and words.

    Raises RefusedArtifact if the files do not hold what was written, if a passage's own vector does not find it, if the
    nearest passages are not those of plain arithmetic, or if most passages are not found by their own words.
    """
    try:
        contents = Contents(folder)
    except (OSError, ValueError) as error:
        raise RefusedArtifact(f"the version that was built cannot be opened: {error}; nothing was published") from error
    visible = contents.visibility.of(Search(query="canary"), nothing)
    positions = np.unique(np.linspace(0, len(records) - 1, _CANARIES).astype(int)).tolist()
    dense, by_words, lexical, recalled, wanted = 0, 0, 0, 0, 0
    for position in positions:
        if contents.record(position) != records[position]:
            raise RefusedArtifact(f"passage {position} was not written as it is; nothing was published")
        exact = np.sort(vectors @ vectors[position])[::-1][:_FIRST]
        found = [score for _, score in contents.dense.nearest(vectors[position], _FIRST, visible)]
        dense += bool(found) and found[0] >= exact[0] - _ROUNDING
        recalled += sum(score >= exact[-1] - _ROUNDING for score in found)
        wanted += len(exact)
        own, near = _by_words(contents, records[position], position, visible)
        by_words, lexical = by_words + own, lexical + near
    if dense < len(positions) or recalled < wanted:
        raise RefusedArtifact(
            f"{dense} of {len(positions)} passages are found by their own vectors, and {recalled} of {wanted} nearest "
            "ones; nothing was published"
        )
    if 2 * lexical < by_words:
        raise RefusedArtifact(f"only {lexical} of {by_words} passages are found by their words; nothing was published")
    return Checks(canaries=len(positions), dense=dense, lexical=lexical, recall=recalled / wanted)


def _by_words(contents: Contents, record: Record, position: int, visible: Visible) -> tuple[bool, bool]:
    """Whether it has words that are looked for, and whether they bring it among the first."""
    scores = contents.lexical.scores(record.searched_text)
    return bool(scores[position] > 0), position in dict(best(scores, _FIRST, visible))
