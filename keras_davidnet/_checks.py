"""Checks of constructor arguments.

NumPy's numbers are as good as Python's; those that come back are Python's, so
that a config can be written as JSON.  True and False are no numbers here.
"""

import inspect
import math
from collections.abc import Sequence
from numbers import Integral, Real

# Three poolings halve height and width to one pixel at least.
SMALLEST = 2**3


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
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}"
        )
    return float(value)


def check_momentum(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number in `[0, 1]`."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1]. Received: {name}={value!r}"
        )
    return float(value)


def check_warmup(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number in `(0, 1)`."""
    if not is_number(value) or not 0 < value < 1:
        raise ValueError(
            f"`{name}` must be a fraction of the training, in (0, 1). "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_not_negative(name: str, value) -> float:
    """Raises a ValueError unless `value` is a number of at least 0."""
    if not is_number(value) or not 0 <= value < math.inf:
        raise ValueError(
            f"`{name}` must be a number of at least 0. "
            f"Received: {name}={value!r}"
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


def check_image_shape(name: str, shape) -> tuple[int | None, int | None, int]:
    """Raises a ValueError unless DavidNet can take images of `shape`."""
    if (
        not isinstance(shape, tuple | list)
        or len(shape) != 3
        or not all(is_number(size, Integral) for size in shape if size)
        or not shape[2]
        or shape[2] < 1
        or too_small(shape[:2])
    ):
        raise ValueError(
            f"`{name}` must be (height, width, channels), height and width of "
            f"at least {SMALLEST} pixels or None. Received: {name}={shape!r}"
        )
    return tuple(size if size is None else int(size) for size in shape)


def check_config(cls: type, config: dict) -> None:
    """Raises a ValueError if `config` holds what no constructor takes."""
    known = set()
    for base in cls.__mro__:
        known |= inspect.signature(base.__init__).parameters.keys()
    unknown = sorted(config.keys() - known)
    if unknown:
        raise ValueError(
            f"The config of a {cls.__name__} has arguments that this version "
            "of keras_davidnet does not know: it was written by a later "
            f"version, or is not one of {cls.__name__}. "
            f"Received: {', '.join(f'{k}={config[k]!r}' for k in unknown)}"
        )


def is_number(value, kind: type = Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def too_small(sizes) -> bool:
    return any(size is not None and size < SMALLEST for size in sizes)
