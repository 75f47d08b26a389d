"""Checks of images and labels."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_davidnet._checks import SMALLEST, too_small


def check_images(name: str, images, channels: int) -> None:
    """Raises a ValueError unless DavidNet can take images of that type.

    Looks at shape and dtype only, so `images` may be symbolic, or a spec.
    """
    shape = () if images is None else tuple(images.shape)
    if len(shape) != 4 or shape[3] != channels or too_small(shape[1:3]):
        raise ValueError(
            f"DavidNet takes images of shape (batch, height, width, {channels})"
            f", at least {SMALLEST} pixels high and wide. "
            f"Received: {describe(name, images)}"
        )
    check_dtype(name, images)


def check_dtype(name: str, array) -> None:
    """Raises a ValueError unless the dtype is one of real numbers."""
    if not _is_real(array):
        raise ValueError(
            f"`{name}` must hold integers or floats. "
            f"Received: {describe(name, array)}"
        )


def _is_real(array):
    try:
        dtype = keras.backend.standardize_dtype(array.dtype)
    except ValueError:
        return False
    return dtype.startswith(("int", "uint", "float", "bfloat"))


def check_finite(name: str, array: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest number; or a ValueError."""
    check_dtype(name, array)
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


def check_label_shape(name: str, labels) -> None:
    """Raises a ValueError unless these can be sparse labels."""
    shape = None if labels is None else tuple(labels.shape)
    if shape is None or not (len(shape) == 1 or shape[1:] == (1,)):
        raise ValueError(
            "DavidNet's own loss takes sparse labels, one integer an image, "
            "of shape (batch,) or (batch, 1). For other labels, give "
            "compile() a loss, such as "
            "keras.losses.CategoricalCrossentropy(from_logits=True) for "
            f"one-hot ones. Received: {describe(name, labels)}"
        )


def flat_labels(labels):
    """Sparse labels as int32 of shape `(batch,)`; or raises a ValueError."""
    check_label_shape("y", labels)
    return ops.cast(ops.reshape(labels, (-1,)), "int32")


def describe(name: str, array) -> str:
    """`name=value` for a message; of an array its type and its span."""
    if array is None:
        return f"{name}=None"
    text = f"{name}={array.dtype} array of shape {tuple(array.shape)}"
    if isinstance(array, np.ndarray) and array.size and _is_real(array):
        text += f", from {array.min()} to {array.max()}"
    return text


@dataclasses.dataclass(frozen=True)
class DataRules:
    """What a model takes; its methods raise a ValueError for anything else.

    Args:
        channels: Of the images.
        num_classes: Number of classes.
        labels: `"sparse"`, `"one-hot"`, or None for whatever the loss wants.
        raw: Whether the images are to be in 0..255.
    """

    channels: int
    num_classes: int
    labels: str | None
    raw: bool

    def check_types(self, x_name, x, y_name, y) -> None:
        """Shapes and dtypes, of arrays or of specs."""
        check_images(x_name, x, self.channels)
        if self.labels == "sparse":
            check_label_shape(y_name, y)
        elif self.labels == "one-hot":
            self._check_one_hot(y_name, y)
        # Labels of two classes may be booleans.
        if self.labels and y.dtype != "bool":
            check_dtype(y_name, y)

    def _check_one_hot(self, name, labels):
        shape = None if labels is None else tuple(labels.shape)
        if shape is None or shape[1:] != (self.num_classes,):
            raise ValueError(
                "The categorical cross entropy takes one-hot labels of shape "
                f"(batch, {self.num_classes}). For integers, leave out `loss` "
                "in compile(), or give SparseCategoricalCrossentropy. "
                f"Received: {describe(name, labels)}"
            )

    def check_values(self, x_name, x, y_name, y) -> None:
        """Every number of the arrays, and that they are of one length."""
        low, high = check_finite(x_name, x)
        # Whole numbers up to 1 are raw images, almost or wholly black.
        if self.raw and max(-low, high) <= 1 and (x % 1).any():
            raise ValueError(
                "DavidNet takes raw images in 0..255 and normalises them "
                "itself, and these have been scaled. Give it the images as "
                "they were, or build it with the `mean` and `std` of these "
                f"divided by 255. Received: {describe(x_name, x)}"
            )
        if y is None or not self.labels:
            return
        if len(x) != len(y):
            raise ValueError(
                "There must be as many labels as images. "
                f"Received: {describe(x_name, x)}, {describe(y_name, y)}"
            )
        if y.dtype == "bool":
            y = y.astype("uint8")
        low, high = check_finite(y_name, y)
        sparse = self.labels == "sparse"
        highest = self.num_classes - 1 if sparse else 1
        if low < 0 or high > highest or (sparse and (y % 1).any()):
            kind = "integers" if sparse else "numbers"
            raise ValueError(
                f"Labels must be {kind} in 0..{highest}. "
                f"Received: {describe(y_name, y)}"
            )
