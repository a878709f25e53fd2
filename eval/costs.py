"""What an arm costs: at every query, and once. Pure; what is not known is None, never zero."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from eval.runfile import Alone, Header, Indexed, Reply, Trained
from eval.sample import Sample
from eval.suite import Arm, Suite

ENOUGH = 20  # requests, from which on one in twenty is more than the slowest one
_SECONDS_AN_HOUR = 3600


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Latency(_Frozen):
    """Milliseconds, over `n` requests; `low` and `high` are the quartiles. Of fewer than ENOUGH requests `p95` is the
    largest: nobody can say more of so few."""

    median: float
    low: float
    high: float
    p95: float
    n: int


class Cost(_Frozen):
    """What answers take. Tokens are means a request; times `alone` are of requests that had the service to themselves,
    `loaded` with as many others at once as the suite says.

    `price` is of 1,000 queries: from `tokens` at an outside endpoint's prices, or from the `machine`'s hourly rate for
    as long as an answer takes alone, which is the dearest it can be; None where neither is known. `price_range` is what
    it would be at the quartiles of these times.
    """

    first_alone: Latency | None
    whole_alone: Latency | None
    first_loaded: Latency | None
    whole_loaded: Latency | None
    prompt_tokens: float | None
    cached_tokens: float | None
    completion_tokens: float | None
    passages: float | None
    price: float | None
    price_range: tuple[float, float] | None
    price_from: Literal["tokens", "machine"] | None


class Once(_Frozen):
    """What an arm costs before its first query. Seconds, bytes.

    `trained` and `indexed` are None for an arm that has no adapter, or no index. `update_seconds` is what a change of
    the knowledge costs again: the last build of the index where there is one, else the training; None where it is not
    recorded. Of an `outside` arm nothing is known.
    """

    trained: Trained | None
    indexed: Indexed | None
    outside: bool = False

    @property
    def training_seconds(self) -> float | None:
        """0 without an adapter; None where the training is not recorded."""
        return self.trained.seconds if self.trained else self._nothing

    @property
    def training_memory(self) -> int | None:
        """0 without an adapter."""
        return self.trained.peak_memory if self.trained else self._nothing

    @property
    def artifact_bytes(self) -> int | None:
        """0 without an adapter."""
        return self.trained.artifact_bytes if self.trained else self._nothing

    @property
    def index_seconds(self) -> float | None:
        """0 without an index."""
        return self.indexed.seconds if self.indexed else self._nothing

    @property
    def training_price(self) -> float | None:
        """As recorded at the training; 0 without an adapter."""
        return self.trained.price if self.trained else self._nothing

    @property
    def update_seconds(self) -> float | None:
        """What a change of the knowledge costs."""
        return self.indexed.update_seconds if self.indexed else self.training_seconds

    @property
    def _nothing(self) -> int | None:
        return None if self.outside else 0


def cost(suite: Suite, arm: Arm, sample: Sample, alone: Sequence[Alone]) -> Cost:
    """The cost of the answers in `sample`, of which those in `alone` had the service to themselves."""
    usages = [reply.usage for reply in sample.replies]
    prompt = _mean(usage.prompt_tokens for usage in usages)
    completion = _mean(usage.completion_tokens for usage in usages)
    whole = latency([each.total_ms for each in alone])
    price = _of_tokens(arm, prompt, completion) if arm.outside else _of_machine(suite.hourly_rate, alone)
    return Cost(
        first_alone=latency([each.first_token_ms for each in alone]),
        whole_alone=whole,
        first_loaded=latency([reply.timings.first_token_ms for reply in sample.loaded]),
        whole_loaded=latency([reply.timings.total_ms for reply in sample.loaded]),
        prompt_tokens=prompt,
        cached_tokens=_mean(usage.cached_tokens for usage in usages if usage.cached_tokens is not None),
        completion_tokens=completion,
        passages=_passages(sample.replies),
        price=price,
        price_range=None if arm.outside else _range(suite.hourly_rate, whole),
        price_from=None if price is None else "tokens" if arm.outside else "machine",
    )


def once(header: Header, arm: Arm) -> Once:
    """What the run file knows of an arm's training and index."""
    return Once(trained=header.trained.get(arm.name), indexed=header.indexed.get(arm.name), outside=arm.outside)


def alone_on(sample: Sample) -> list[Alone]:
    """The times of the requests in `sample` that had the service to themselves in this run."""
    found = (reply.timings for reply in sample.alone)
    return [Alone(first_token_ms=timings.first_token_ms, total_ms=timings.total_ms) for timings in found]


def latency(times: Sequence[float]) -> Latency | None:
    """Median, quartiles and 95th percentile; None without times."""
    if not times:
        return None
    low, median, high, p95 = map(float, np.percentile(times, [25, 50, 75, 95]))
    return Latency(median=median, low=low, high=high, p95=p95 if len(times) >= ENOUGH else max(times), n=len(times))


def _of_tokens(arm: Arm, prompt: float | None, completion: float | None) -> float | None:
    if arm.price_in is None or arm.price_out is None or prompt is None or completion is None:
        return None
    return 1000 * (prompt * arm.price_in + completion * arm.price_out) / 1e6


def _of_machine(hourly_rate: float | None, alone: Sequence[Alone]) -> float | None:
    if hourly_rate is None or not alone:
        return None
    return _worth(hourly_rate, statistics.fmean(each.total_ms for each in alone))


def _range(hourly_rate: float | None, whole: Latency | None) -> tuple[float, float] | None:
    if hourly_rate is None or whole is None:
        return None
    return _worth(hourly_rate, whole.low), _worth(hourly_rate, whole.high)


def _worth(hourly_rate: float, milliseconds: float) -> float:
    """The price of 1,000 answers that take so long each."""
    return milliseconds * hourly_rate / _SECONDS_AN_HOUR


def _passages(replies: Sequence[Reply]) -> float | None:
    """Passages a prompt, None for an arm that never had one."""
    counts = [len(reply.passages) for reply in replies]
    return statistics.fmean(counts) if any(counts) else None


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None
