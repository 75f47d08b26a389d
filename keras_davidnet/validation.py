"""Checks of arguments, each with one message for all who take such a one."""

from keras import ops

# Three poolings halve height and width to one pixel at least.
SMALLEST = 2**3


def check_count(name: str, value, least: int = 1) -> None:
    """Raises a ValueError unless `value` is an integer of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )


def check_fraction(name: str, value) -> None:
    """Raises a ValueError unless `value` is a number in `[0, 1)`."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}"
        )


def check_warmup(name: str, value) -> None:
    """Raises a ValueError unless `value` is a number in `(0, 1)`."""
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(
            f"`{name}` must be a fraction of the training, in (0, 1). "
            f"Received: {name}={value!r}"
        )


def check_not_negative(name: str, value) -> None:
    """Raises a ValueError unless `value` is a number of at least 0."""
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(
            f"`{name}` must be a number of at least 0. "
            f"Received: {name}={value!r}"
        )


def check_image_shape(name: str, shape) -> None:
    """Raises a ValueError unless DavidNet can take images of `shape`."""
    if (
        not isinstance(shape, tuple | list)
        or len(shape) != 3
        or _too_small(shape[:2])
        or not isinstance(shape[2], int)
        or shape[2] < 1
    ):
        raise ValueError(
            f"`{name}` must be (height, width, channels), height and width of "
            f"at least {SMALLEST} pixels or None. Received: {name}={shape}"
        )


def check_images(images, channels: int) -> None:
    """Raises a ValueError unless DavidNet can take this batch."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[3] != channels or _too_small(shape[1:3]):
        raise ValueError(
            f"DavidNet takes images of shape (batch, height, width, {channels})"
            f", at least {SMALLEST} pixels high and wide. "
            f"Received: images of shape {shape}"
        )


def flat_labels(labels):
    """Sparse labels as int32 of shape `(batch,)`; or raises a ValueError."""
    shape = None if labels is None else tuple(labels.shape)
    if shape is None or not (len(shape) == 1 or shape[1:] == (1,)):
        raise ValueError(
            "DavidNet's own loss takes sparse labels, one integer an image, "
            "of shape (batch,) or (batch, 1). For other labels, give "
            "compile() a loss, such as "
            "keras.losses.CategoricalCrossentropy(from_logits=True) for "
            f"one-hot ones. Received: labels of shape {shape}"
        )
    return ops.cast(ops.reshape(labels, (-1,)), "int32")


def _too_small(sizes):
    return any(size is not None and size < SMALLEST for size in sizes)
