"""What the arms' adapters were trained on, read as their recipes had it read, to be looked at for leaks.

What cannot be looked at ends no run, but it is told: an arm whose training nobody saw may know the answers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from eval.runfile import Trained
from eval.task import Csv
from ragtune.errors import RagtuneError
from ragtune.examples import Example, Format, read_example_file
from ragtune.roots import followed

_NOT_RECORDED = "what an adapter was trained on is not recorded"


@dataclass
class TrainingFiles:
    """The examples `seen`, by file; `unchecked` tells by arm what was not looked at, and why."""

    seen: dict[Path, list[Example]] = field(default_factory=dict)
    unchecked: dict[str, tuple[str, ...]] = field(default_factory=dict)


def training_files(bills: Mapping[str, Trained], roots: Iterable[Path] | None = None) -> TrainingFiles:
    """Those that the recipes name; with `roots` only such as lie inside one of them."""
    allowed = None if roots is None else tuple(root.expanduser().resolve() for root in roots)
    reader = _Reader(allowed)
    unchecked = {arm: tuple(dict.fromkeys(reader.unread(bill))) for arm, bill in bills.items()}
    return TrainingFiles(reader.seen, {arm: reasons for arm, reasons in unchecked.items() if reasons})


class _Recipe(BaseModel):
    """Of a recipe what says where its examples are, and how they are read."""

    model_config = ConfigDict(extra="ignore")

    train: Path | tuple[Path, ...]
    validation: Path | None = None
    format: Literal[Format, "auto"] = "auto"
    csv: Csv = Csv()
    task: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """What was trained on, and what the rate and the best step were chosen by."""
        chosen_by = () if self.validation is None else (self.validation,)
        return (*((self.train,) if isinstance(self.train, Path) else self.train), *chosen_by)


@dataclass
class _Reader:
    """Reads a file once, however many arms were trained on it."""

    roots: tuple[Path, ...] | None
    seen: dict[Path, list[Example]] = field(default_factory=dict)
    told: dict[str, str | None] = field(default_factory=dict)

    def unread(self, bill: Trained) -> Iterator[str]:
        """Read what the bill's recipes name; the reasons why some of it cannot be."""
        for recipe in _recipes(bill):
            if recipe is None:
                yield _NOT_RECORDED
                continue
            for file in recipe.files:
                key = recipe.model_copy(update={"train": file, "validation": None}).model_dump_json()
                if key not in self.told:
                    self.told[key] = self._read(file, recipe)
                if reason := self.told[key]:
                    yield reason

    def _read(self, file: Path, recipe: _Recipe) -> str | None:
        if not file.is_absolute():
            return f"{file.name} is a relative path in its recipe"
        try:
            if self.roots is not None and not any(followed(file).is_relative_to(root) for root in self.roots):
                return f"{file.name} is not inside an allowed root"
            read = read_example_file(file, recipe.format, recipe.csv.columns)
        except RagtuneError as error:
            return error.message
        examples = [example for example in read.examples if recipe.task in (None, example.task)]
        self.seen[file] = [*self.seen.get(file, ()), *examples]
        return None


def _recipes(bill: Trained) -> Iterator[_Recipe | None]:
    """One an adapter, None for one of which it is not known; of several adapters they stand by name."""
    one = not bill.recipe or isinstance(bill.recipe.get("method"), str)
    for recipe in [bill.recipe] if one else bill.recipe.values():
        yield _parsed(recipe)


def _parsed(recipe: JsonValue) -> _Recipe | None:
    try:
        return _Recipe.model_validate(recipe)
    except ValidationError:
        return None
