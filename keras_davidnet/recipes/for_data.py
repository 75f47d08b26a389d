"""Fits a recipe, which was made for CIFAR-10, to other images."""

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_davidnet._array_checks import (
    as_array,
    check_finite,
    check_images,
    check_labels,
    describe,
)
from keras_davidnet.models import Airbench, NavierStoked

if TYPE_CHECKING:
    from keras_davidnet.recipes.recipe import Recipe

# The training images of CIFAR-10, for which the recipes' numbers were found.
_RECIPE_IMAGES = 50_000
# Batches are multiples of the groups of ghost batch normalization.
_BATCH_MULTIPLE, _MIN_BATCH_SIZE = 16, 32
# Of batch normalization.  A blank background makes channels whose variance is
# almost 0; with the recipe's epsilon their gradients are thousands of times
# those of others, and in bfloat16 a bias's are mostly rounding errors.
_EPSILONS = {Airbench: 1e-3, NavierStoked: 1e-2}


def changes_for_data(recipe: "Recipe", x, y) -> dict:
    """What `Recipe.for_data` changes by `Recipe.replace`."""
    x, y = as_array("x", x), as_array("y", y)
    if x.ndim != 4:
        raise ValueError(
            "`x` must be images of shape (n, height, width, channels), where "
            "gray images have one channel: x[..., None]. "
            f"Received: {describe('x', x)}"
        )
    check_images("x", x, x.shape[3], recipe.net.min_size)
    num_classes = _count_classes(x, y)
    mean, std = _statistics(x)
    batch_size, epochs = _batches_and_epochs(recipe, len(x))
    changes = {
        "num_classes": num_classes,
        "input_shape": x.shape[1:],
        "mean": mean,
        "std": std,
        "batch_size": batch_size,
        "epochs": epochs,
        "image_sizes": _image_sizes(recipe, *x.shape[1:3]),
    }
    for net, epsilon in _EPSILONS.items():
        if issubclass(recipe.net, net):
            changes["epsilon"] = epsilon
    return changes


def _batches_and_epochs(recipe: "Recipe", n: int) -> tuple[int, float]:
    """Batch size and number of epochs for `n` images.

    As many steps as the recipe makes on CIFAR-10, in as many epochs, until
    batches are too small for batch normalization; then in more epochs.
    """
    batch_size = recipe.batch_size * n // _RECIPE_IMAGES
    batch_size -= batch_size % _BATCH_MULTIPLE
    batch_size = max(batch_size, _MIN_BATCH_SIZE)
    # At least two batches, so that a part can be held out for validation.
    batch_size = min(batch_size, max(1, n // 2), recipe.batch_size)
    steps = n // batch_size
    recipe_steps = _RECIPE_IMAGES // recipe.batch_size
    if steps >= recipe_steps:
        return batch_size, recipe.epochs
    return batch_size, math.ceil(recipe.epochs * recipe_steps / steps)


def _count_classes(x, y):
    check_labels("y", y, x, math.inf)
    num_classes = int(y.max()) + 1
    if len(np.unique(y)) < 2:
        raise ValueError(
            "`y` must hold labels of at least two classes. "
            f"Received: {describe('y', y)}"
        )
    if len(x) < num_classes:
        raise ValueError(
            "There must be at least as many images as classes, which are "
            f"numbered from 0. Received: {len(x)} images, {describe('y', y)}"
        )
    return num_classes


def _statistics(x):
    """Mean and standard deviation per channel, of pixels in [0, 1]."""
    check_finite("x", x)
    mean = x.mean((0, 1, 2), dtype="float64")
    # In parts: as floats, the images would take eight times the memory.
    parts = np.array_split(x, math.ceil(len(x) / 100))
    squares = sum(((part - mean) ** 2).sum((0, 1, 2)) for part in parts)
    std = np.sqrt(squares / (x.size / x.shape[3]))
    if not std.all():
        raise ValueError(
            "Every channel of `x` must vary, and some have one value in all "
            f"pixels. Received: {describe('x', x)}, with the standard "
            f"deviations {std.tolist()}"
        )
    return (mean / 255).tolist(), (std / 255).tolist()


def _image_sizes(recipe, height, width):
    """The recipe's sizes in proportion; the last is that of the images."""
    if not recipe.image_sizes:
        return None
    last = recipe.image_sizes[max(recipe.image_sizes)]

    def scaled(length, size):
        return max(recipe.net.min_size, round(length * size / last))

    return {
        begin: (scaled(height, size), scaled(width, size))
        for begin, size in recipe.image_sizes.items()
    }
