"""Checks of arguments.

They accept NumPy scalars and return Python ones, so that configs stay
JSON-serializable.  Booleans are not numbers here.
"""

import math
import operator
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

_WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def to_python(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's; anything else as it is."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return type(value)(map(to_python, value))
    return value


def check_count(name: str, value, ge: int = 1) -> int:
    """Raises a ValueError unless `value` is an integer of at least `ge`."""
    if not is_number(value, Integral) or value < ge:
        raise ValueError(
            f"`{name}` must be an integer of at least {ge}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_number(name: str, value, **bounds: float) -> float:
    """Raises a ValueError unless `value` is a finite number within bounds.

    Args:
        name: Name of the argument, for the message.
        value: The number.
        **bounds: `ge`, `gt`, `le` and `lt`, as the functions of `operator`.
    """
    if not (
        is_number(value)
        and math.isfinite(value)
        and all(getattr(operator, key)(value, bounds[key]) for key in bounds)
    ):
        limits = " and ".join(f"{_WORDS[key]} {bounds[key]}" for key in bounds)
        wanted = f"a number {limits}".rstrip()
        raise ValueError(
            f"`{name}` must be {wanted}. Received: {name}={value!r}"
        )
    return float(value)


def check_numbers(name: str, values: Sequence[float]) -> list[float]:
    """Raises a ValueError unless `values` are a row of finite numbers."""
    try:
        return [check_number(name, value) for value in values]
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be a list of finite numbers. "
            f"Received: {name}={values!r}"
        ) from None


def check_three_counts(name: str, values) -> tuple[int, ...]:
    """Raises a ValueError unless `values` are three positive integers."""
    values = to_python(values)
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError(
            f"`{name}` must be three integers. Received: {name}={values!r}"
        )
    return tuple(check_count(name, value) for value in values)


def check_image_shape(
    name: str, shape, min_size: int
) -> tuple[int | None, int | None, int]:
    """Raises a ValueError unless `shape` is one of images large enough."""
    try:
        height, width, channels = to_python(shape)
        for size in (height, width):
            if size is not None:
                check_count(name, size, min_size)
        check_count(name, channels)
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be (height, width, channels), height and width of "
            f"at least {min_size} pixels or None. Received: {name}={shape!r}"
        ) from None
    return height, width, channels


def check_size(name: str, size: Any, ge: int = 1) -> int | tuple[int, int]:
    """Raises a ValueError unless it is an integer or (height, width)."""
    size = to_python(size)
    if is_number(size, Integral) and size >= ge:
        return size
    if isinstance(size, tuple | list) and len(size) == 2:
        height, width = (check_count(name, length, ge) for length in size)
        return height, width
    raise ValueError(
        f"`{name}` must be (height, width), or one number for both, of at "
        f"least {ge}. Received: {name}={size!r}"
    )


def as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of a size that may be one number for both."""
    return (size, size) if isinstance(size, int) else size


def check_class_names(names: Sequence[str], num_classes: int) -> tuple:
    """Raises a ValueError unless these are as many strings as classes."""
    if (
        not isinstance(names, list | tuple | np.ndarray)
        or len(names) != num_classes
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(
            f"`class_names` must be {num_classes} strings, one for each class. "
            f"Received: class_names={names!r}"
        )
    return tuple(to_python(names))


def is_number(value, kind: type = Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
