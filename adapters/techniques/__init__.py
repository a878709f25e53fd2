"""The techniques: a recipe's method as a model to train, its files, and their way back.

full, partial                                fine_tuning.py   the model itself, saved as a model folder
lora, dora, qlora, ia3                       layers.py        PEFT changes of linear layers
prompt_tuning, p_tuning, prefix_tuning       virtual.py       PEFT virtual tokens before the text
"""

from adapters.base_model import BaseModelInfo
from adapters.recipe import Recipe
from adapters.techniques import fine_tuning, layers, virtual
from adapters.techniques.trainee import Trainee


def begin(recipe: Recipe, base: BaseModelInfo, device: str = "auto") -> Trainee:
    """The model to train, as it starts by the recipe's seed, on `device` (auto: CUDA where there is one).

    Raises RefusedArtifact if the recipe names layers, parameters or hardware that are not there, saying what there is.
    """
    match recipe.method:
        case "full" | "partial":
            return fine_tuning.begin(recipe, base, device)
        case "lora" | "dora" | "qlora" | "ia3":
            return layers.begin(recipe, base, device)
        case "prompt_tuning" | "p_tuning" | "prefix_tuning":
            return virtual.begin(recipe, base, device)
