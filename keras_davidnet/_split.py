"""What `validation_split` holds out, as `keras.Model.fit` does."""

import math
from typing import Any

from keras_davidnet._checks import check_number


def num_training(n: int, validation_split: float) -> int:
    """How many of `n` images are trained on: the first ones."""
    return math.floor(n * (1 - validation_split))


def split(validation_split: float, *arrays: Any) -> Any:
    """The first images of each array, and the last ones; None stays None."""
    check_number("validation_split", validation_split, ge=0, lt=1)
    first = num_training(len(arrays[0]), validation_split)
    return zip(
        *((a, a) if a is None else (a[:first], a[first:]) for a in arrays),
        strict=True,
    )
