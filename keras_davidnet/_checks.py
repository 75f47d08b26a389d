"""Checks of arguments.

They accept NumPy scalars and return Python ones, so that configs stay
JSON-serializable.  Booleans are not numbers here.
"""

import inspect
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's; anything else as it is."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return type(value)(map(plain, value))
    return value


def check_count(name: str, value, least: int = 1) -> int:
    """Raises a ValueError unless `value` is an integer of at least `least`."""
    if not is_number(value, Integral) or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_fraction(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number in `[0, 1)`."""
    return _number(name, value, "in [0, 1)", lambda: 0 <= value < 1)


def check_momentum(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number in `[0, 1]`."""
    return _number(name, value, "in [0, 1]", lambda: 0 <= value <= 1)


def check_warmup(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number in `(0, 1)`."""
    return _number(name, value, "in (0, 1)", lambda: 0 < value < 1)


def check_not_negative(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number of at least 0."""
    return _number(name, value, "of at least 0", lambda: 0 <= value < math.inf)


def check_positive(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number above 0."""
    return _number(name, value, "above 0", lambda: 0 < value < math.inf)


def _number(name, value, where, fits):
    if not is_number(value) or not fits():
        raise ValueError(
            f"`{name}` must be a number {where}. Received: {name}={value!r}"
        )
    return float(value)


def check_numbers(name: str, values: Sequence[float]) -> list[float]:
    """Raises a ValueError unless `values` are a row of finite numbers."""
    try:
        fine = all(
            is_number(value) and math.isfinite(value) for value in values
        )
    except TypeError:
        fine = False
    if not fine:
        raise ValueError(
            f"`{name}` must be a list of finite numbers. "
            f"Received: {name}={values!r}"
        )
    return [float(value) for value in values]


def check_image_shape(
    name: str, shape, smallest: int
) -> tuple[int | None, int | None, int]:
    """Raises a ValueError unless `shape` is one of images large enough."""
    shape = plain(shape)
    if (
        not isinstance(shape, tuple | list)
        or len(shape) != 3
        or not all(is_number(size, Integral) for size in shape if size)
        or not shape[2]
        or shape[2] < 1
        or _too_small(shape[:2], smallest)
    ):
        raise ValueError(
            f"`{name}` must be (height, width, channels), height and width of "
            f"at least {smallest} pixels or None. Received: {name}={shape!r}"
        )
    height, width = (None if size is None else int(size) for size in shape[:2])
    return height, width, int(shape[2])


def argument_names(cls: type) -> set[str]:
    """What the constructors of a class and its bases take."""
    return {
        name
        for base in cls.__mro__
        for name in inspect.signature(base.__init__).parameters
    }


def check_config(cls: type, config: dict) -> None:
    """Raises a ValueError if `config` holds what no constructor takes."""
    unknown = sorted(config.keys() - argument_names(cls) - {"sublayers"})
    if unknown:
        raise ValueError(
            f"The config of a {cls.__name__} has arguments that this version "
            "of keras_davidnet does not know: it was written by a later "
            f"version, or is not one of {cls.__name__}. "
            f"Received: {', '.join(f'{k}={config[k]!r}' for k in unknown)}"
        )


def is_number(value, kind: type = Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _too_small(sizes, smallest):
    return any(size is not None and size < smallest for size in sizes)
