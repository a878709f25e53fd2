"""What makes two sittings one run: all that decides about its answers and scores, and nothing else."""

from collections.abc import Iterator

from pydantic import JsonValue
from pydantic.main import IncEx

from eval.runfile import Header

ONLY_SPEED = ("concurrency", "timeout", "alone")
_ONLY_REPORT = ("comparisons", "gates", "budget", "tolerance", "hourly_rate")
_LEFT_OUT: dict[str, IncEx | bool] = {
    **dict.fromkeys((*ONLY_SPEED, *_ONLY_REPORT, "trained_on"), True),
    "tasks": {"__all__": {"examples"}},  # of files counts what is in them
    "arms": {"__all__": {"price_in", "price_out"}},
}


def identity(header: Header) -> dict[str, JsonValue]:
    """The suite without what only its speed or its report depend on, the data, and every version that is asked."""
    suite: dict[str, JsonValue] = header.suite.model_dump(mode="json", exclude=_LEFT_OUT)
    return {
        "suite": suite,
        "examples of task": dict(header.data),
        "versions of arm": dict(header.modes),
        "base model": header.server.fingerprint if header.server else None,
    }


def differences(earlier: Header, now: Header) -> list[str]:
    """What differs between two runs, each as `suite.seeds was [0] and is [0, 1]`."""
    return list(_differences("", identity(earlier), identity(now)))


def _differences(place: str, earlier: JsonValue, now: JsonValue) -> Iterator[str]:
    if isinstance(earlier, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*earlier, *now]):
            yield from _differences(f"{place}.{name}" if place else name, earlier.get(name), now.get(name))
    elif isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now):
        for number, (one, other) in enumerate(zip(earlier, now, strict=True), start=1):
            yield from _differences(f"{place} number {number}", one, other)
    elif earlier != now:
        yield f"{place} was {_short(earlier)} and is {_short(now)}"


def _short(value: JsonValue) -> str:
    text = "not there" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
