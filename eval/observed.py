"""What one item gave, as the metrics see it: an answer, and what it is held against."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragtune.examples import Example

if TYPE_CHECKING:  # a run file holds a suite, and a suite names metrics
    from eval.runfile import Likelihood, Shown


@dataclass(frozen=True)
class Observed:
    """An answer to an example. What is empty or None was not asked for, or could not be had.

    `labels` are the distinct first answers of the task's examples, sorted. `refusals` are the wordings of its
    unanswerable examples. `passages` are in the order of the prompt. `ranking` are the documents as they were
    retrieved, best first, each once; None where nothing was searched. `likelihoods` are those of the example's choices,
    or of its first answer. `similarity` is the cosine of the embeddings of the text and its nearest answer. `judged`
    is the judge's score, 0 to 1.
    """

    example: Example
    text: str
    labels: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    passages: tuple["Shown", ...] = ()
    ranking: tuple[str, ...] | None = None
    likelihoods: tuple["Likelihood", ...] = ()
    similarity: float | None = None
    judged: float | None = None
