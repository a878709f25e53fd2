"""Whether what is asked can be had: of a task's examples, and of an arm. Told before the first question."""

from collections.abc import Sequence

from eval.arm import GIVEN, Arm
from eval.metrics import Needs
from eval.metrics.fields import first_object
from eval.needs import RETRIEVED, SCORED, needs
from eval.task import Task
from ragtune.errors import RefusedArtifact
from ragtune.examples import UNANSWERABLE, Example
from ragtune.mode import Mode

_FEWEST = 2  # labels, or choices


def generates(task: Task) -> bool:
    """Whether anything of an answer's text is looked at; else nothing is generated."""
    return not needs(task.metrics) <= SCORED | RETRIEVED


def only_retrieves(task: Task) -> bool:
    """Whether nothing but the ranking of documents is looked at."""
    return needs(task.metrics) <= RETRIEVED


def check_examples(task: Task, examples: Sequence[Example]) -> None:
    """Raises RefusedArtifact, naming an example, if a metric of the task cannot be had of it."""
    wanted = needs(task.metrics)
    answerable = [example for example in examples if example.slice != UNANSWERABLE]
    for example in answerable:
        problem = _problem(example, wanted, ranked_only=only_retrieves(task))
        if problem:
            raise RefusedArtifact(f"task {task.name!r}, example {example.id!r}: {problem}")
    if not generates(task) and not only_retrieves(task) and len(answerable) < len(examples):
        raise RefusedArtifact(
            f"task {task.name!r}: nothing is generated for its metrics, so unanswerable examples tell nothing; leave "
            "them out, or add a metric of text"
        )
    if "labels" in wanted and len({example.answers[0] for example in answerable}) < _FEWEST:
        raise RefusedArtifact(f"task {task.name!r}: its examples have no two different labels to tell apart")


def check_arm(arm: Arm, task: Task) -> None:
    """Raises RefusedArtifact if the arm cannot give what the metrics of the task need."""
    wanted = needs(task.metrics)
    where = f"arm {arm.name!r} cannot be asked task {task.name!r}"
    if arm.outside and wanted & SCORED:
        raise RefusedArtifact(
            f"{where}: chat completions tell no log-probability of a given text; leave it out of tasks"
        )
    if (arm.outside or arm.context != "retrieved") and wanted <= RETRIEVED:
        raise RefusedArtifact(
            f"{where}: it retrieves nothing, and the task measures nothing else; leave it out of tasks"
        )
    if arm.top_k is not None and (wanted & SCORED or only_retrieves(task)):
        raise RefusedArtifact(f"{where}: top_k is for answers that are generated")
    if arm.context in GIVEN and wanted & SCORED:
        raise RefusedArtifact(
            f"{where}: log-probabilities are told of what is retrieved, not of context {arm.context!r}"
        )


def check_mode(arm: Arm, mode: Mode, task: Task) -> None:
    """Raises RefusedArtifact if what the arm's mode turned out to be retrieves nothing, where that is needed."""
    if mode.rag:
        return
    if arm.top_k is not None:
        raise RefusedArtifact(f"arm {arm.name!r}: top_k needs a mode with rag; {mode} has none")
    if arm.context in GIVEN:
        raise RefusedArtifact(f"arm {arm.name!r}: context = {arm.context!r} needs a mode with rag; {mode} has none")
    if only_retrieves(task):
        raise RefusedArtifact(
            f"arm {arm.name!r} cannot be asked task {task.name!r}: {mode} retrieves nothing, and the task measures "
            "nothing else; leave it out of tasks"
        )


def _problem(example: Example, wanted: frozenset[Needs], *, ranked_only: bool) -> str | None:
    if "ranking" in wanted and not (example.gold_documents or example.gains):
        return "it names no gold_documents, and a ranking is held against them"
    if not example.answers and not ranked_only:
        return "it has no answer; such are for metrics of retrieval alone"
    if "choices" in wanted and len(example.choices) < _FEWEST:
        return "it has no choices"
    if "choices" in wanted and example.answers[0] not in example.choices:
        return "the first of its answers is none of its choices"
    if "json" in wanted and first_object(example.answers[0]) is None:
        return "its first answer holds no JSON object, and fields are compared"
    return None
