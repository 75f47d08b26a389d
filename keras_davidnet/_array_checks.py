"""Checks of images and labels."""

import math

import keras
import numpy as np


def describe(name: str, array) -> str:
    """`name=value` for a message; for an array its dtype, shape and range."""
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
    """Raises a ValueError unless the array holds real numbers."""
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
    # Both are NaN if any number is, and neither pass needs memory.
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(
            f"`{name}` must hold finite numbers, neither NaN nor infinity. "
            f"Received: {describe(name, array)}"
        )
    return low, high


def first_images(name: str, images, count: int | None = None) -> np.ndarray:
    """Images of an array or of batches, with labels or not, as an array."""
    if hasattr(images, "shape") or not hasattr(images, "__iter__"):
        return as_array(name, images)[:count]
    found: list[np.ndarray] = []
    for batch in images:
        x = batch[0] if isinstance(batch, tuple | list) else batch
        found.extend(as_array(name, x))
        if count is not None and len(found) >= count:
            break
    return np.array(found[:count])


def check_images(name: str, images, channels: int, min_size: int) -> None:
    """Raises a ValueError unless the model takes this shape and dtype.

    `images` may be symbolic; an unknown size passes.
    """
    shape = getattr(images, "shape", ())
    if (
        len(shape) != 4
        or shape[3] not in (channels, None)
        or any(isinstance(s, int) and s < min_size for s in shape[1:3])
    ):
        raise ValueError(
            "The model takes images of shape (batch, height, width, "
            f"{channels}), at least {min_size} pixels high and wide. "
            f"Received: {describe(name, images)}"
        )
    check_real(name, images)


def check_not_dict(images) -> None:
    """Raises a ValueError if a batch names its images and labels."""
    if isinstance(images, dict):
        raise ValueError(
            "A batch must be a pair of images and labels, and not a dict; "
            "tfds.load(..., as_supervised=True) returns pairs. "
            f"Received: a dict with the keys {list(images)}"
        )


def check_raw(
    name: str,
    images: np.ndarray,
    low: float,
    high: float,
    least_range: float = math.inf,
    largest_mean: float = math.inf,
) -> None:
    """Raises a ValueError if these are not raw images in 0..255.

    Args:
        name: That of the images, for the message.
        images: Any array.
        low, high: Their least and greatest values.
        least_range: Raw images in -8..8 differ by more.
        largest_mean: Images above 1000 with a larger mean are not raw.
    """
    # Integers up to 1 are raw images, almost or entirely black; normalized
    # images lie within a few standard deviations.
    scaled = -1 <= low and high <= 1
    normalized = -8 <= low and high <= 8 and high - low < least_range
    black_and_white = images.dtype.kind == "f" and (low, high) == (0, 1)
    too_small = (scaled or normalized) and (
        black_and_white or (images % 1).any()
    )
    too_large = high > 1000 and images.mean(dtype="float64") > largest_mean
    if too_small or too_large:
        raise ValueError(
            "The model takes raw images in 0..255 and normalizes them itself, "
            "and these are on another scale. Pass the original images in "
            "0..255, or build the model with the `mean` and `std` of these "
            f"divided by 255. Received: {describe(name, images)}"
        )


def check_label_shape(name: str, labels) -> None:
    """Raises a ValueError unless the shape is one of sparse labels."""
    shape = getattr(labels, "shape", None)
    # TensorFlow may trace a step with labels of an unknown rank.
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


def check_labels(name: str, labels, images, num_classes: float) -> None:
    """Raises a ValueError unless these are sparse labels of the images."""
    check_label_shape(name, labels)
    if len(labels) != len(images):
        raise ValueError(
            "There must be as many labels as images. "
            f"Received: {len(images)} images, {describe(name, labels)}"
        )
    # The labels of two classes may be booleans.
    if labels.dtype == "bool":
        labels = labels.astype("uint8")
    low, high = check_finite(name, labels)
    if low < 0 or high >= num_classes or (labels % 1).any():
        raise ValueError(
            f"Labels must be integers in 0..{num_classes - 1}. "
            f"Received: {describe(name, labels)}"
        )


def as_array(name: str, array) -> np.ndarray:
    """The NumPy array of any library's array; or a TypeError."""
    if keras.ops.is_tensor(array):
        return keras.ops.convert_to_numpy(array)
    if not hasattr(array, "__array__"):
        raise TypeError(
            f"`{name}` must be an array. "
            f"Received: {name}=... of type {type(array).__name__}"
        )
    return np.asarray(array)


def check_classes(labels: np.ndarray, subset: np.ndarray) -> None:
    """Raises a ValueError if the subset holds no image of a label."""
    missing = np.setdiff1d(labels[~subset], labels[subset])
    if missing.size:
        raise ValueError(
            "`subset` must hold images of all labels, or the net never sees "
            "some of its classes. Received: a subset without the labels "
            f"{missing.tolist()}"
        )
