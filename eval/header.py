"""What holds for a whole run, found out before its first question."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from eval.bills import indexed, trained
from eval.client import ANY_SCORE, Service
from eval.leaks import Leak, find_leaks, read_trained, refuse
from eval.parties import Parties
from eval.plan import Plan
from eval.runfile import Header, Indexed, Trained
from eval.training_files import training_files
from eval.wording import holds
from ragtune.examples import UNANSWERABLE, Example
from ragtune.mode import Mode

_LOOKED_AT = 10  # passages in which an answer is looked for
_AT_ONCE = 8


async def begin(
    plan: Plan, parties: Parties, url: str, *, allow_leaks: bool = False, roots: Iterable[Path] | None = None
) -> Header:
    """The header of a run that asks nothing yet. Raises RefusedArtifact if held-out examples were trained on.

    With `roots` only training files inside one of them are looked at.
    """
    suite = plan.suite
    modes = {name: Mode.parse(mode) for name, mode in parties.modes.items()}
    bills: dict[str, Trained] = {}
    indexes: dict[str, Indexed] = {}
    for arm, mode in modes.items():
        if bill := await trained(parties.the_service, mode):
            bills[arm] = bill
        if index := await indexed(parties.the_service, mode):
            indexes[arm] = index
    trained_on = training_files(bills, roots)
    leaks = find_leaks(plan.examples, {**trained_on.seen, **read_trained(suite.trained_on)})
    if not allow_leaks:
        refuse(leaks)
    return Header(
        suite=suite,
        url=url,
        server=parties.server,
        modes=dict(parties.modes),
        trained=bills,
        indexed=indexes,
        data={task: _sha256(examples, plan.labels.get(task, ())) for task, examples in plan.examples.items()},
        left_out=dict(plan.left_out),
        leaks=_by_task(leaks),
        unchecked=trained_on.unchecked,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        ragtune=version("ragtune"),
    )


async def known(plan: Plan, parties: Parties, indexes: Mapping[str, Indexed]) -> dict[str, dict[str, float]]:
    """By index and task: the share of examples of which an answer stands in what a search for it finds."""
    found: dict[str, dict[str, float]] = {}
    for index in dict.fromkeys(one.version for one in indexes.values()):
        for task, examples in plan.examples.items():
            asked = [example for example in examples if example.answers and example.slice != UNANSWERABLE]
            if asked:
                found.setdefault(index, {})[task] = await _share(parties.the_service, index, asked)
    return found


async def _share(service: Service, index: str, examples: Sequence[Example]) -> float:
    """Searched by words, as it is the words that are looked for. A search that fails finds nothing."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(example: Example) -> bool:
        body = {
            "query": f"{example.query} {example.answers[0]}",
            "top_k": _LOOKED_AT,
            "retrieval": "lexical",
            "min_score": ANY_SCORE,
        }
        async with free:
            found, _ = await service.search(index, body)
        return any(holds(passage.text, example) for passage in found or ())

    stand = await asyncio.gather(*map(one, examples))
    return sum(stand) / len(stand)


def _by_task(leaks: Sequence[Leak]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for leak in leaks:
        found[leak.task] = (*found.get(leak.task, ()), leak.heldout.id)
    return found


def _sha256(examples: Sequence[Example], labels: Sequence[str]) -> str:
    """Of the examples that are asked, not of how they are written, and of the labels their answers are told among."""
    content = "".join(example.model_dump_json() + "\n" for example in examples) + "".join(labels)
    return hashlib.sha256(content.encode()).hexdigest()
