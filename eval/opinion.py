"""What a model says of an answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Opinion:
    """A `score`, None where there is none of this answer; or the `error` for which the model could not be asked, which
    says nothing of the answer. `retries` is how often it was asked in vain."""

    score: float | None = None
    error: str | None = None
    retries: int = 0
