"""The published recipes: `get(name)` gives one, `names()` lists them.

`load(name)` gives a net trained by one.
"""

import dataclasses

from keras_davidnet.presets import load as load
from keras_davidnet.recipes.airbench import (
    AIRBENCH94,
    AIRBENCH94_MUON,
    AIRBENCH95,
    AIRBENCH96,
    CPU94,
)
from keras_davidnet.recipes.bag_of_tricks import BAG_OF_TRICKS
from keras_davidnet.recipes.cifar100 import CIFAR100_75
from keras_davidnet.recipes.davidnet import DAVIDNET, DAVIDNET_TF
from keras_davidnet.recipes.recipe import Recipe as Recipe, Result as Result
from keras_davidnet.recipes.runs import Runs as Runs

_RECIPES = {
    recipe.name: recipe
    for recipe in (
        DAVIDNET,
        DAVIDNET_TF,
        BAG_OF_TRICKS,
        AIRBENCH94_MUON,
        CPU94,
        AIRBENCH94,
        AIRBENCH95,
        AIRBENCH96,
        CIFAR100_75,
    )
}


def names() -> list[str]:
    """The names of all recipes."""
    return list(_RECIPES)


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: If there is no such recipe.

    Example:

    ```python
    recipe = recipes.get("airbench94_muon")
    ```
    """
    if name not in _RECIPES:
        raise ValueError(
            f"`name` must be one of {names()}. Received: name={name!r}"
        )
    # A copy: its mappings can be changed.
    return dataclasses.replace(_RECIPES[name])
