"""Fits a recipe, which was made for other images, to these."""

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_davidnet._array_checks import (
    as_array,
    check_finite,
    check_images,
    check_labels,
    check_raw,
    describe,
)
from keras_davidnet._checks import as_pair
from keras_davidnet.models import Airbench, NavierStoked
from keras_davidnet.recipes.arguments import value_of

if TYPE_CHECKING:
    from keras_davidnet.recipes.recipe import Recipe

# Batches are multiples of the groups of ghost batch normalization.
_BATCH_MULTIPLE, _MIN_BATCH_SIZE = 16, 32
# The epsilon of batch normalization.  A blank background makes channels whose
# variance is almost 0; with the recipe's epsilon their gradients are thousands
# of times those of others, and in bfloat16 a bias's are mostly rounding errors.
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
        "num_images": len(x),
        "image_sizes": _image_sizes(recipe, *x.shape[1:3]),
    }
    whitening = value_of(recipe, "whitening_epochs")
    if whitening is not None:
        changes["whitening_epochs"] = whitening * (epochs / recipe.epochs)
    for net, epsilon in _EPSILONS.items():
        if issubclass(recipe.net, net):
            changes["epsilon"] = epsilon
    return changes


def _batches_and_epochs(recipe: "Recipe", n: int) -> tuple[int, float]:
    """Batch size and number of epochs for `n` images.

    As many steps as the recipe makes on its own data, in as many epochs, until
    batches are too small for batch normalization; then in more epochs.
    """

    def rounded(size):
        return size - size % _BATCH_MULTIPLE or size

    batch_size = recipe.batch_size * n // recipe.num_images
    if batch_size < recipe.batch_size:
        batch_size = max(rounded(batch_size), _MIN_BATCH_SIZE)
    # At least two batches, so that a part can be held out for validation.
    half = max(1, rounded(n // 2))
    batch_size = min(batch_size, half, recipe.batch_size)
    steps = n // batch_size
    recipe_steps = recipe.num_images // recipe.batch_size
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
    check_raw("x", x, *check_finite("x", x))
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
    pairs = {begin: as_pair(s) for begin, s in recipe.image_sizes.items()}
    last = pairs[max(pairs)]
    return {
        begin: tuple(
            max(recipe.net.min_size, round(length * part / whole))
            for length, part, whole in zip(
                (height, width), size, last, strict=True
            )
        )
        for begin, size in pairs.items()
    }
