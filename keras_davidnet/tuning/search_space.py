"""The hyperparameters, and the forms in which their values are given."""

from collections.abc import Callable
from typing import NamedTuple

from keras_davidnet._checks import (
    check_count,
    check_fraction,
    check_not_negative,
    check_warmup,
)
from keras_davidnet.layers.augmentation import check_augmentation


def _check_decay(name, value):
    if value not in ("coupled", "decoupled"):
        raise ValueError(
            f'`{name}` must be "coupled" or "decoupled". '
            f"Received: {name}={value!r}"
        )


class _Hyperparameter(NamedTuple):
    type: type
    check: Callable
    sampling: str = "linear"


HYPERPARAMETERS = {
    "width": _Hyperparameter(int, check_count, "log"),
    "peak": _Hyperparameter(float, check_not_negative, "log"),
    "warmup": _Hyperparameter(float, check_warmup),
    "decay": _Hyperparameter(str, _check_decay),
    "weight_decay": _Hyperparameter(float, check_not_negative, "log"),
    "dropout": _Hyperparameter(float, check_fraction),
    "label_smoothing": _Hyperparameter(float, check_fraction),
    "augmentation": _Hyperparameter(str, check_augmentation),
    "batch_size": _Hyperparameter(int, check_count, "log"),
    "epochs": _Hyperparameter(int, check_count),
}


def check_values(name: str, values) -> None:
    """Raises a ValueError unless `values` is of one of the three forms."""
    kind, check, sampling = HYPERPARAMETERS[name]
    forms = "a value or a list of values"
    wrong = values == []
    if kind is not str:
        forms += " or a range (min, max)"
    if sampling == "log":
        forms += ", min above 0"
    if isinstance(values, tuple):
        wrong = (
            kind is str
            or len(values) != 2
            or not values[0] < values[1]
            or (sampling == "log" and values[0] <= 0)
        )
    if wrong:
        raise ValueError(f"`{name}` must be {forms}. Received: {name}={values}")
    for value in values if isinstance(values, list | tuple) else [values]:
        check(name, value)


def declare(hp, name: str, values):
    """Adds the hyperparameter to `hp`; returns its value there."""
    kind, _, sampling = HYPERPARAMETERS[name]
    if isinstance(values, tuple):
        numbers = hp.Int if kind is int else hp.Float
        return numbers(name, *values, sampling=sampling)
    if isinstance(values, list):
        return hp.Choice(name, [kind(value) for value in values])
    return hp.Fixed(name, kind(values))
