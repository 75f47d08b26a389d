"""The arguments of a recipe's net and optimizer, by name."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_davidnet.models import ImageClassifier

if TYPE_CHECKING:
    from keras_davidnet.recipes.recipe import Recipe


def value_of(recipe: "Recipe", name: str) -> Any:
    """The recipe's value of an argument; None if it has none."""
    return {
        **defaults(recipe.make_optimizer),
        **net_defaults(recipe.net),
        **recipe.net_arguments,
        **recipe.optimizer_arguments,
        **vars(recipe),
    }.get(name)


def net_defaults(net: type[ImageClassifier]) -> dict[str, Any]:
    """The arguments of a class and its bases, and their defaults."""
    found = {}
    for base in reversed(net.__mro__):
        found |= defaults(base.__init__)
    return found


def defaults(function: Callable) -> dict[str, Any]:
    """The arguments of a function and their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("self", "args", "kwargs")
    }
