"""The files a recipe names, read: what is trained on, what is kept aside, what must not be trained on."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.recipe import Recipe
from ragtune.errors import RefusedArtifact, UnknownName
from ragtune.examples import Columns, Example, ExampleFile, read_example_file


@dataclass(frozen=True)
class ExampleFiles:
    """`train` is drawn and shuffled by the seed; `validation` is None without a file of its own, and whole with one.

    `told` says how files were read, where that was not plain.
    """

    train: list[Example]
    validation: list[Example] | None
    heldout: list[Example]
    told: list[str]


def read_all(recipe: Recipe) -> ExampleFiles:
    """All files of a recipe, only the examples of its task.

    Of several `train` files each names the task of those of its examples that name none. Raises RefusedArtifact for a
    file that cannot be read, holds none of the task, or shares an id with another one that is trained on.
    """
    train, validation, heldout = ([_read(path, recipe) for path in paths] for paths in _paths(recipe))
    _check_ids(train)
    named = [_named(file) if len(train) > 1 else list(file.examples) for file in train]
    examples = [example for file in named for example in file]
    train_of_task = _of_task(examples, recipe.task, ", ".join(str(path) for path in recipe.train))
    random.Random(recipe.seed).shuffle(train_of_task)
    return ExampleFiles(
        train=train_of_task[: recipe.limit],
        validation=_of_task(validation[0].examples, recipe.task, str(recipe.validation)) if validation else None,
        heldout=[e for file in heldout for e in _of_task(file.examples, recipe.task, str(file.path))],
        told=[f"{file.path}: {file.told}" for file in [*train, *validation, *heldout] if file.told],
    )


def _paths(recipe: Recipe) -> tuple[Sequence[Path], Sequence[Path], Sequence[Path]]:
    return recipe.train, [recipe.validation] if recipe.validation else [], recipe.heldout


def _read(path: Path, recipe: Recipe) -> ExampleFile:
    columns = Columns(**recipe.csv.model_dump())
    return read_example_file(path, recipe.format, columns, recipe.unanswerable)


def _named(file: ExampleFile) -> list[Example]:
    """Its examples, those without a task given the file's name as one."""
    task = file.path.stem
    return [e if "task" in e.model_fields_set else e.model_copy(update={"task": task}) for e in file.examples]


def _of_task(examples: Sequence[Example], task: str | None, source: str) -> list[Example]:
    chosen = [example for example in examples if task is None or example.task == task]
    if not chosen:
        hint = UnknownName.among("task", str(task), (example.task for example in examples)).message
        raise RefusedArtifact(f"{source} holds no example of task {task!r}: {hint}")
    return chosen


def _check_ids(files: Sequence[ExampleFile]) -> None:
    owner: dict[str, Path] = {}
    for file in files:
        for example in file.examples:
            if example.id in owner:
                raise RefusedArtifact(
                    f"{owner[example.id]} and {file.path} both have an example with the id {example.id!r}; "
                    "give each its own"
                )
            owner[example.id] = file.path
