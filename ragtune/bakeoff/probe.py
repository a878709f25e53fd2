"""A short look at a running service before anything is planned: how fast it is, how long prompts are, and whether the
index answers the training questions.

Only training questions are asked; what is held out is not looked at.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict

from ragtune.bakeoff.few_shot import shots
from ragtune.bakeoff.task import Task, drawn
from ragtune.examples import Example
from ragtune.remote import Target, call
from ragtune.wire import Answer, Passage

SEARCHED, ASKED = 40, 6  # training questions a task; the latter at least
_AT_ONCE = 24  # questions under way: with fewer a batch is small, and slower than an evaluation's
SERVED = 0.5  # share of them whose passages hold the answer, from which on a task is one for retrieval
HELPED = 0.1  # from which on retrieval is worth being asked in full
RECALLED, _FEW_WORDS = 0.6, 6  # share of the words of an answer of more than so many that a passage must hold
Call = Callable[[str, dict[str, object]], object]
"""Posts a body to a route of the service, and gives its JSON answer."""


class Probed(BaseModel):
    """One task. Tokens are means of a question: of its prompt, with passages, and of its answer.

    `found` is the share of `searched` training questions whose passages hold the answer or are of a gold document;
    `passages` are those of the questions a template may show, and of others, best first.
    """

    model_config = ConfigDict(frozen=True)

    prompt_tokens: float
    passage_tokens: float
    new_tokens: float
    found: float
    searched: int
    passages: dict[str, tuple[str, ...]]

    @property
    def served(self) -> bool:
        """Whether retrieval serves the task: then adapters are trained on passages, else closed-book."""
        return self.found >= SERVED

    @property
    def helped(self) -> bool:
        """Whether passages may help at all."""
        return self.found >= HELPED


class Probe(BaseModel):
    """All tasks, and how many tokens a second the service computed for several callers at once."""

    model_config = ConfigDict(frozen=True)

    tokens_per_second: float
    tasks: dict[str, Probed]


def posting(service: Target) -> Call:
    """Calls of this service."""
    return lambda path, body: call("POST", service, path, body)


def probe(post: Call, index: str, tasks: Sequence[Task], *, clock: Callable[[], float] = time.monotonic) -> Probe:
    """Search and ask. Raises what `post` raises."""
    rag = f"rag:{index}"
    bodies = [
        (task, mode, body) for task in tasks for mode in ("base", rag) for body in _bodies(task, mode, len(tasks))
    ]
    began = clock()
    with ThreadPoolExecutor(min(len(bodies), _AT_ONCE)) as callers:
        answers = [Answer.model_validate(told) for told in callers.map(lambda one: post("/v1/query", one[2]), bodies)]
    seconds = clock() - began
    asked: dict[tuple[str, str], list[Answer]] = {}
    for (task, mode, _), answer in zip(bodies, answers, strict=True):
        asked.setdefault((task.name, mode), []).append(answer)
    found = {task.name: _search(post, index, task) for task in tasks}
    probed = {
        task.name: _probed(task, asked[task.name, "base"], asked[task.name, rag], found[task.name]) for task in tasks
    }
    return Probe(tokens_per_second=sum(map(_computed, answers)) / max(seconds, 1e-3), tasks=probed)


def _bodies(task: Task, mode: str, tasks: int) -> list[dict[str, object]]:
    return [
        {"query": example.query if mode != "base" else example.asked, "mode": mode, "max_tokens": task.max_tokens}
        for example in drawn(task, max(ASKED, _AT_ONCE // (2 * tasks)))
    ]


def _search(post: Call, index: str, task: Task) -> dict[str, list[Passage]]:
    """The passages of each training question drawn, and of those that a template shows, best first."""

    def one(example: Example) -> tuple[str, list[Passage]]:
        given = post(f"/v1/indexes/{index}/search", {"query": example.query})
        passages = given.get("passages", []) if isinstance(given, dict) else []
        return example.id, [Passage.model_validate(passage) for passage in passages]

    wanted = {example.id: example for example in (*drawn(task, SEARCHED), *shots(task))}
    return dict(map(one, wanted.values()))


def _probed(
    task: Task, plain: Sequence[Answer], passages: Sequence[Answer], found: Mapping[str, list[Passage]]
) -> Probed:
    sample = drawn(task, SEARCHED)
    return Probed(
        prompt_tokens=_mean([answer.usage.prompt_tokens for answer in plain]),
        passage_tokens=_mean([answer.usage.prompt_tokens for answer in passages]),
        new_tokens=_mean([answer.usage.completion_tokens for answer in (*plain, *passages)]),
        found=_mean([float(_holds(found[example.id], example, task)) for example in sample]),
        searched=len(sample),
        passages={name: tuple(_shown(passage) for passage in best[:2]) for name, best in found.items()},
    )


def _holds(passages: Sequence[Passage], example: Example, task: Task) -> bool:
    """Whether one is of a gold document, or where none is named holds an answer: as it is written, or if that is a
    sentence, RECALLED of its words.

    A label or a JSON object that no document is named for is no text to be found: the words of a label stand anywhere.
    """
    if example.gold_documents:
        return any(passage.document in example.gold_documents for passage in passages)
    return task.kind == "text" and any(
        _says(passage.text, answer) for passage in passages for answer in example.answers
    )


def _says(text: str, answer: str) -> bool:
    asked = re.findall(r"\w+", answer.casefold())
    if len(asked) <= _FEW_WORDS:
        return _plain(answer) in _plain(text)
    held = Counter(re.findall(r"\w+", text.casefold()))
    return sum((Counter(asked) & held).values()) >= RECALLED * len(asked)


def _shown(passage: Passage) -> str:
    heading = " > ".join(passage.heading)
    return f"{heading}\n{passage.text}" if heading else passage.text


def _computed(answer: Answer) -> int:
    return answer.usage.prompt_tokens - answer.usage.cached_tokens + answer.usage.completion_tokens


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
