"""Two runs side by side: what became better or worse for the same arm on the same items, and what else differs."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, JsonValue

from eval.differences import Difference, Measured, judged, measured
from eval.runfile import Header, Item, Run, Server
from eval.sample import Sample, Samples
from eval.suite import Comparison, Suite


class Change(BaseModel):
    """One thing that is not the same in both runs."""

    model_config = ConfigDict(frozen=True)

    what: str
    first: str
    second: str


class Across(BaseModel):
    """`differences` are the second run minus the first, of each arm and task both have, all in one family.

    `unlike` are by task the examples of the same name that ask or accept something else: they are left out.
    """

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    differences: tuple[Difference, ...]
    changes: tuple[Change, ...]
    unlike: dict[str, int]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def across(first: Run, second: Run, names: tuple[str, str]) -> Across:
    """The comparison of two runs; `names` are what they are called."""
    unlike = _unlike(first.items, second.items)
    before, after = (Samples(_alike(run.items, unlike)) for run in (first, second))
    asked = [(arm, task, metric) for arm, task, metric in _asked(first.header.suite, second.header.suite)]
    found = [_measured(before.part(arm, task), after.part(arm, task), arm, task, metric) for arm, task, metric in asked]
    mine, theirs = ([arm.name for arm in run.header.suite.arms] for run in (first, second))
    return Across(
        first=names[0],
        second=names[1],
        differences=tuple(judged(found)),
        changes=tuple(_changes(first, second)),
        unlike={task: sum(of == task for of, _ in unlike) for task in sorted({of for of, _ in unlike})},
        only_first=tuple(arm for arm in mine if arm not in theirs),
        only_second=tuple(arm for arm in theirs if arm not in mine),
    )


def _asked(first: Suite, second: Suite) -> Iterable[tuple[str, str, str]]:
    """Arm, task and primary metric of whatever both suites ask, in the first one's order."""
    others = {(arm.name, task.name): task for arm in second.arms for task in second.asked(arm)}
    for task in first.tasks:
        for arm in first.arms:
            other = others.get((arm.name, task.name))
            if task in first.asked(arm) and other and task.headline in other.metrics:
                yield arm.name, task.name, task.headline


def _measured(before: Sample, after: Sample, arm: str, task: str, metric: str) -> Measured:
    return measured(Comparison(task=task, metric=metric, arm=arm, over=arm), after, before)


def _unlike(first: Iterable[Item], second: Iterable[Item]) -> set[tuple[str, str]]:
    known = {(item.task, item.example): (item.query, item.answers) for item in first}
    return {
        (item.task, item.example)
        for item in second
        if known.get((item.task, item.example), (item.query, item.answers)) != (item.query, item.answers)
    }


def _alike(items: Iterable[Item], unlike: set[tuple[str, str]]) -> list[Item]:
    return [item for item in items if (item.task, item.example) not in unlike]


def _changes(first: Run, second: Run) -> list[Change]:
    before, after = _facts(first), _facts(second)
    names = [*before, *(name for name in after if name not in before)]
    pairs = [(name, before.get(name, "absent"), after.get(name, "absent")) for name in names]
    return [Change(what=name, first=one, second=other) for name, one, other in pairs if one != other]


def _facts(run: Run) -> dict[str, str]:
    """All that should be equal, in words."""
    header = run.header
    return {
        "ragtune": header.ragtune,
        **_of_server(header.server),
        **{f"data of {task}": hashed for task, hashed in header.data.items()},
        **_of_suite(header),
        **_answered(run.items, [arm.name for arm in header.suite.arms]),
    }


def _of_server(server: Server | None) -> dict[str, str]:
    if server is None:
        return {}
    return {"base model": server.base, "base fingerprint": server.fingerprint, "device": server.device}


def _of_suite(header: Header) -> dict[str, str]:
    """The suite's own fields; where its files lie makes no difference, `data` says what is in them."""
    written = header.suite.model_dump(mode="json", exclude={"trained_on": True, "tasks": {"__all__": {"examples"}}})
    flat = dict(_flat("suite", written))
    return {name: value for name, value in flat.items() if name not in ("suite.concurrency", "suite.timeout")}


def _flat(name: str, value: JsonValue) -> Iterable[tuple[str, str]]:
    """Every leaf with its path; parts of a list by their name where they have one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for place, inner in enumerate(value):
            assert isinstance(inner, dict)
            called = inner.get("name") or inner.get("label") or inner.get("mode") or inner.get("model") or place
            yield from _flat(f"{name}.{called}", inner)
    else:
        yield name, str(value)


def _answered(items: Sequence[Item], arms: Sequence[str]) -> dict[str, str]:
    """The versions that answered, by arm."""
    found: dict[str, set[str]] = {}
    for item in items:
        if item.reply and item.reply.versions:
            found.setdefault(item.arm, set()).update(item.reply.versions.values())
    return {f"versions of {arm}": ", ".join(sorted(found[arm])) for arm in arms if arm in found}
