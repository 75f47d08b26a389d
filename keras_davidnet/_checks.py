"""Checks of arguments and of arrays.

They accept NumPy scalars and return Python ones, so that configs stay
JSON-serializable.  Booleans are not numbers here.
"""

import inspect
import math
from collections.abc import Sequence
from numbers import Integral, Real

import keras
import numpy as np


def plain(value):
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
    return tuple(size if size is None else int(size) for size in shape)


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


def describe(name: str, array) -> str:
    """`name=value` for a message; of an array its type and its range."""
    if not hasattr(array, "shape"):
        return f"{name}={array!r}"
    text = f"{name}={array.dtype} array of shape {tuple(array.shape)}"
    if isinstance(array, np.ndarray) and array.size and _is_real(array):
        text += f", from {array.min()} to {array.max()}"
    return text


def _is_real(array):
    try:
        dtype = keras.backend.standardize_dtype(array.dtype)
    except ValueError:
        return False
    return dtype.startswith(("int", "uint", "float", "bfloat"))


def check_real(name: str, array) -> None:
    """Raises a ValueError unless the dtype is one of real numbers."""
    if not _is_real(array):
        raise ValueError(
            f"`{name}` must hold integers or floats. "
            f"Received: {describe(name, array)}"
        )


def check_finite(name: str, array: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest number; or a ValueError."""
    check_real(name, array)
    if not array.size:
        raise ValueError(
            f"`{name}` must not be empty. Received: {describe(name, array)}"
        )
    # Both are NaN if any number is, and these two passes need no memory.
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(
            f"`{name}` must hold finite numbers, neither NaN nor infinity. "
            f"Received: {describe(name, array)}"
        )
    return low, high


def check_images(name: str, images, channels: int, smallest: int) -> None:
    """Raises a ValueError unless shape and dtype are those of such images.

    `images` may be symbolic.  A size or a rank that is unknown passes.
    """
    shape = getattr(images, "shape", ())
    # TensorFlow's shape of unknown rank.
    if getattr(shape, "rank", 0) is None:
        return
    if (
        len(shape) != 4
        or shape[3] not in (channels, None)
        or any(isinstance(s, int) and s < smallest for s in shape[1:3])
    ):
        raise ValueError(
            "The model takes images of shape (batch, height, width, "
            f"{channels}), at least {smallest} pixels high and wide. "
            f"Received: {describe(name, images)}"
        )
    check_real(name, images)


def check_raw(name: str, images: np.ndarray, low: float, high: float) -> None:
    """Raises a ValueError unless these can be raw images in 0..255."""
    # Whole numbers up to 1 are raw images, almost or wholly black.
    if low >= -1 and high <= 1 and (images % 1).any():
        raise ValueError(
            "The model takes raw images in 0..255 and normalises them itself, "
            "and these have been scaled. Give it the images as they were, or "
            "build it with the `mean` and `std` of these divided by 255. "
            f"Received: {describe(name, images)}"
        )


def check_label_shape(name: str, labels) -> None:
    """Raises a ValueError unless these can be sparse labels."""
    shape = getattr(labels, "shape", None)
    if getattr(shape, "rank", 0) is None:
        return
    if shape is None or not (len(shape) == 1 or tuple(shape[1:]) == (1,)):
        raise ValueError(
            "The model's own loss takes sparse labels, one integer per image, "
            "of shape (batch,) or (batch, 1). For other labels, give "
            "compile() a loss, such as "
            "keras.losses.CategoricalCrossentropy(from_logits=True) for "
            f"one-hot ones. Received: {describe(name, labels)}"
        )


def check_labels(name: str, labels, images, num_classes: int) -> None:
    """Raises a ValueError unless these are sparse labels of the images."""
    check_label_shape(name, labels)
    if len(labels) != len(images):
        raise ValueError(
            "There must be as many labels as images. "
            f"Received: {len(images)} images, {describe(name, labels)}"
        )
    # Labels of two classes may be booleans.
    if labels.dtype == "bool":
        labels = labels.astype("uint8")
    low, high = check_finite(name, labels)
    if low < 0 or high >= num_classes or (labels % 1).any():
        raise ValueError(
            f"Labels must be integers in 0..{num_classes - 1}. "
            f"Received: {describe(name, labels)}"
        )


def as_array(name: str, array) -> np.ndarray:
    """NumPy's array of what is one in another library; or a TypeError."""
    if isinstance(array, np.ndarray):
        return array
    if keras.ops.is_tensor(array):
        return keras.ops.convert_to_numpy(array)
    if not hasattr(array, "__array__"):
        raise TypeError(
            f"`{name}` must be an array. "
            f"Received: {name}=... of type {type(array).__name__}"
        )
    return np.asarray(array)
