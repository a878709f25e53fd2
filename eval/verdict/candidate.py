"""What a verdict is formed from and what it says."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from eval.statistics import Compared, Interval


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Timing(_Frozen):
    """Milliseconds of `n` whole answers that had the service to themselves: the median, and the quartiles."""

    median: float
    low: float
    high: float
    n: int


class Costs(_Frozen):
    """What an arm costs on a task. Every field may be unknown, which is None and never counts as nothing.

    `first_token_ms` and `p95_ms` are what a budget limits: the p95 of requests that had the service to themselves, of a
    few the slowest. `answer` is what arms are compared by. `price_per_1000` is of 1,000 queries, training not included,
    `price_range` what it would be at the quartiles of the times it is made of. Training and index are paid once,
    seconds of the machine; 0 where the arm needs none. `training_price` is as it was recorded at the training.
    `update_seconds` is paid at every change of the knowledge: the index build where the arm retrieves, the training
    where it holds the knowledge in its weights. `prompt_tokens` are a query's. An `outside` arm is paid for by its
    price alone; what was paid for it before is not known.
    """

    first_token_ms: float | None = None
    p95_ms: float | None = None
    answer: Timing | None = None
    price_per_1000: float | None = None
    price_range: tuple[float, float] | None = None
    training_seconds: float | None = None
    training_price: float | None = None
    training_memory: float | None = None
    artifact_bytes: float | None = None
    index_seconds: float | None = None
    update_seconds: float | None = None
    prompt_tokens: float | None = None
    outside: bool = False


class Candidate(_Frozen):
    """An arm on a task; more `quality` is better.

    `gap` is arm minus best, on the same items, in the best under the budget; None for that one. `asked` is how much it
    was asked, every repeat counted, and `scored` how much of that has a score; absent: all it has a score of.
    """

    arm: str
    task: str
    quality: Interval
    gap: Compared | None = None
    costs: Costs = Costs()
    asked: int | None = None
    scored: int | None = None

    @property
    def coverage(self) -> float:
        """The share of what it was asked that has a score."""
        scored = self.quality.n if self.scored is None else self.scored
        return scored / self.asked if self.asked else 1.0


class BreakEven(_Frozen):
    """Where the chosen arm and another one cost the same a month; None: at no number of queries, or of updates.

    Below that number `below` is the cheaper one, above it the other. Where there are no prices, `unit` is the seconds
    of the machine: those of training and indexing against those of answers, however long the queries take to come.
    """

    chosen: str
    other: str
    queries: float | None = None
    below_queries: str | None = None
    updates: float | None = None
    below_updates: str | None = None
    unit: Literal["price", "seconds"] = "price"


class Verdict(_Frozen):
    """What the evidence supports on a task.

    `best` has the highest mean of those under the budget, `within` are surely less than the tolerance behind it (and it
    itself), `chosen` is the cheapest of these by `order`. `may_be` are those whose interval leaves open whether
    they are within, with about how many more items would tell. `excluded` gives the reason by arm. `coverage` is the
    least share of its items that one of the arms has a score of, those without any score included.
    """

    task: str
    best: str | None
    chosen: str | None
    order: str
    words: tuple[str, ...]
    within: tuple[str, ...]
    may_be: dict[str, int | None]
    excluded: dict[str, str]
    front: tuple[str, ...]
    would_change: tuple[str, ...]
    coverage: float
    break_even: tuple[BreakEven, ...]
