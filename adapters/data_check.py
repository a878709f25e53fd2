"""Whether a recipe's data can be read, before a training begins."""

from adapters.recipe import Recipe
from ragtune.examples import read_examples


def check_readable(recipe: Recipe) -> None:
    """Raises RefusedArtifact for a file that cannot be read, or holds a line that is no example."""
    for path in (*recipe.train, *recipe.heldout, *([recipe.validation] if recipe.validation else [])):
        read_examples(path)
