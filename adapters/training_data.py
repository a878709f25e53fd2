"""From a recipe to what is trained on: files read, leaks found, prompts rendered, some kept aside.

data = prepare(recipe, template, tokenizer, knowledge)
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from adapters.dataset import (
    Choice,
    Item,
    Rendered,
    Watch,
    closed_book,
    data_hash,
    render_each,
    retrieved,
)
from adapters.duplicates import Duplicates, find_duplicates
from adapters.example_files import read_all
from adapters.gold import Gold, Knowledge
from adapters.mixing import shares
from adapters.recipe import Recipe
from adapters.splitting import stratified
from adapters.token_statistics import TokenStatistics
from adapters.tokenizer import Tokenizer
from ragtune.examples import Example
from ragtune.template import Template
from ragtune.terminal import say


@dataclass(frozen=True)
class Data:
    """What is trained on and what it is validated by, with all there is to say about it.

    `validation` is empty where nothing could be kept aside; `notes` then say why. `rendered` and `rendered_validation`
    hold what was left out of either.
    """

    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    statistics: TokenStatistics
    duplicates: Duplicates
    rendered: Rendered
    rendered_validation: Rendered
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of all tokens of both, and of their tasks: what the result depends on."""
        return hashlib.sha256(f"{data_hash(self.train)} {data_hash(self.validation)}".encode()).hexdigest()

    @property
    def sizes(self) -> dict[str, int]:
        """Items to train on, by task."""
        return {row.task: row.examples for row in self.statistics.tasks if row.examples}

    def show(self) -> None:
        """Tell a person all of it: how files were read, tokens, what was left out, leaks."""
        for note in self.notes:
            say(note)
        say(f"{len(self.train):,} examples to train on, {len(self.validation):,} kept aside for validation")
        self.statistics.show()
        self.rendered.show()
        if self.rendered_validation.left_out:
            say("of the validation file:")
            self.rendered_validation.show()
        self.duplicates.show()


def prepare(
    recipe: Recipe,
    template: Template,
    tokenizer: Tokenizer,
    knowledge: Knowledge | None = None,
    watch: Watch | None = None,
) -> Data:
    """The data of a recipe; `knowledge` is that of the index it names, None if it names none.

    Raises RefusedArtifact for a file that is no good, for a weight of an unknown task, and if no example is left.
    """
    files = read_all(recipe)
    shares(
        Counter(example.task for example in files.train), recipe
    )  # a misspelt task fails before anything is rendered

    def rendered(examples: Sequence[Example], source: str) -> Rendered:
        choice = _choice(examples, recipe, template, tokenizer, knowledge)
        return render_each(examples, choice, template, tokenizer, recipe.max_tokens, source, watch)

    made = rendered(files.train, "train")
    train, told = _of(made, files.train), list(files.told)
    if files.validation is None:
        aside, train = _kept_aside(train, recipe)
        made_aside, validation, compared = Rendered(), _items(made, aside), aside
    else:
        aside, _ = stratified(files.validation, recipe.validation_limit, recipe.seed)
        if (there := len(files.validation)) > len(aside):
            told.append(f"of {there:,} validation examples {len(aside)} are looked at; validation_limit takes more")
        made_aside = rendered(aside, "validation")
        validation, compared = tuple(made_aside.items), files.validation
    items = _items(made, train)
    return Data(
        train=items,
        validation=validation,
        statistics=TokenStatistics.of(items, made.left_out),
        duplicates=find_duplicates({"train": train, "validation": compared, "held-out": files.heldout}),
        rendered=made,
        rendered_validation=made_aside,
        notes=(
            *told,
            *_unused_contexts(files.train, knowledge),
            *_unwatched(items, validation, recipe),
        ),
    )


def _choice(
    examples: Sequence[Example],
    recipe: Recipe,
    template: Template,
    tokenizer: Tokenizer,
    knowledge: Knowledge | None,
) -> Choice:
    if knowledge is None:
        return closed_book
    if recipe.passages == "gold":
        return Gold(examples, knowledge, recipe, template, tokenizer)
    return retrieved(partial(knowledge.search, count=None), knowledge.budget, template, tokenizer)


def _kept_aside(examples: Sequence[Example], recipe: Recipe) -> tuple[list[Example], list[Example]]:
    """For validation, and to train on: one of each task at least, if the share is one example or more."""
    count = round(recipe.validation_share * len(examples))
    if count:
        count = max(count, len({example.task for example in examples}))
    return stratified(examples, min(count, recipe.validation_limit), recipe.seed, spare=1)


def _of(rendered: Rendered, examples: Sequence[Example]) -> list[Example]:
    """Those that were rendered."""
    left = {left.id for left in rendered.left_out}
    return [example for example in examples if example.id not in left]


def _items(rendered: Rendered, examples: Sequence[Example]) -> tuple[Item, ...]:
    wanted = {example.id for example in examples}
    return tuple(item for item in rendered.items if item.id in wanted)


def _unused_contexts(examples: Sequence[Example], knowledge: Knowledge | None) -> list[str]:
    count = sum(bool(example.context) for example in examples) if knowledge else 0
    return [f"the contexts of {count} examples are not shown: their passages come from the index"] if count else []


def _unwatched(train: Sequence[Item], validation: Sequence[Item], recipe: Recipe) -> list[str]:
    """What no validation loss will tell of."""
    if not validation and recipe.validation_share:
        return [
            f"{len(train)} examples are too few to keep {recipe.validation_share:.0%} aside: there is no validation, "
            "and the last weights are published; name a validation file, or raise validation_share"
        ]
    missing = sorted({item.task for item in train} - {item.task for item in validation}) if validation else []
    return [f"there is no validation example of {', '.join(missing)}"] if missing else []
