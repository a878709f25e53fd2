"""All that a training is made of: names resolved, files read, prompts rendered, steps planned."""

from dataclasses import dataclass

from adapters.base_model import BaseModelInfo, locate_base_model
from adapters.context import Context, resolve
from adapters.learning import Watch
from adapters.mixing import Step, plan
from adapters.recipe import Recipe
from adapters.techniques import begin
from adapters.techniques.trainee import Trainee
from adapters.tokenizer import Tokenizer, load_tokenizer
from adapters.training_data import Data, prepare
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.terminal import say


@dataclass(frozen=True)
class Material:
    """What `gather` found. `recipe` is as written, but for `max_tokens`, which is what the model can take at most."""

    recipe: Recipe
    settings: Settings
    base: BaseModelInfo
    tokenizer: Tokenizer
    context: Context
    data: Data
    steps: list[Step]

    @property
    def pad(self) -> int:
        """The token that fills rows; nothing sees it."""
        return self.tokenizer.eos_ids[0]

    def begin(self) -> Trainee:
        """The model as it starts, which is the same each time."""
        return begin(self.recipe, self.base, self.settings.device)


def gather(recipe: Recipe, settings: Settings, base: BaseModelInfo, database: Database, watch: Watch) -> Material:
    """What was found is told. Raises RefusedArtifact for data that is no good, UnknownName for an unknown template or
    index."""
    watch("reading", 0, 0, {})
    tokenizer = load_tokenizer(base.folder)
    recipe = _within(recipe, settings, base)
    context = resolve(recipe, settings, database)
    data = prepare(
        recipe, context.template, tokenizer, context.knowledge, lambda stage, done, all_: watch(stage, done, all_, {})
    )
    data.show()
    return Material(recipe, settings, base, tokenizer, context, data, plan(data.train, recipe))


def check(recipe: Recipe, settings: Settings) -> None:
    """Read, compare, render and count the data as a training would, and say what was found; nothing is trained."""
    made = gather(recipe, settings, locate_base_model(settings), Database(settings.database), lambda *_: None)
    tokens = sum(item.length for step in made.steps for batch in step for item in batch)
    say(f"it would take {len(made.steps):,} steps over {tokens:,} tokens")


def _within(recipe: Recipe, settings: Settings, base: BaseModelInfo) -> Recipe:
    """Nothing longer is trained on than is served."""
    most = min(settings.max_model_len, int(base.config.max_position_embeddings))
    if recipe.max_tokens <= most:
        return recipe
    say(f"max_tokens is {recipe.max_tokens}, and what is served has {most} tokens at most: {most} it is")
    return recipe.model_copy(update={"max_tokens": most})
