"""Random image layers that draw once per image, inside the compiled step.

Every draw is an integer: the same seed then gives the same numbers at any
precision and with XLA or without.  On TensorFlow floats, which
`keras.layers.RandomFlip` and `Dropout` draw, differ between the two.
"""

import re
import sys
from typing import Any

import keras
from keras import ops

from keras_davidnet import _backend
from keras_davidnet._checks import check_count, to_python


class _RandomImageLayer(keras.layers.Layer):
    """Passes images unchanged, or in training through `augment`."""

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = to_python(seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)

    def __call__(self, images, *args, **kwargs):
        tf = sys.modules.get("tensorflow")
        if (
            tf is None
            or not tf.is_tensor(images)
            or ops.is_tensor(images)
            or tf.executing_eagerly()
        ):
            return super().__call__(images, *args, **kwargs)

        # In `tf.data.Dataset.map`, under another backend.
        def call(array):
            with keras.device("cpu"):
                outputs = super(_RandomImageLayer, self).__call__(
                    array, *args, **kwargs
                )
                return ops.convert_to_numpy(outputs)

        # A layer casts floats only.
        is_float = images.dtype.is_floating
        dtype = self.compute_dtype if is_float else images.dtype
        outputs = tf.numpy_function(call, [images], dtype)
        outputs.set_shape(images.shape)
        return outputs

    def call(self, images, training=False):
        if not training:
            return images
        if len(images.shape) != 4 or None in images.shape[1:]:
            raise ValueError(
                f"{type(self).__name__} takes images of shape (batch, height, "
                "width, channels), all but the batch known. "
                f"Received: images of shape {tuple(images.shape)}"
            )
        return self.augment(images)

    def draw(self, images, n):
        """One integer in `[0, n)` per image, of shape `(batch, 1)`.

        A replica draws for the whole batch and takes its part: the images get
        what they would get on one device.
        """
        batch = ops.shape(images)[0]
        replica, count = _backend.replica()
        draws = keras.random.randint(
            (batch * count, 1), 0, n, seed=self.seed_generator
        )
        return draws[replica * batch : (replica + 1) * batch]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable("keras_davidnet")
class RandomPadCrop(_RandomImageLayer):
    """Pads each image by reflection, then crops it back at a random place.

    The same as PyTorch's `RandomCrop(size, padding, padding_mode="reflect")`:
    the border pixels themselves are not repeated, and each of the
    `(2 * padding + 1) ** 2` offsets is equally likely.

    Args:
        padding: Number of pixels on each side, less than height and width.
        seed: An integer, for the same offsets in every run.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        The same as the input's.

    Call arguments:
        images: A tensor; inside of `tf.data.Dataset.map` a TensorFlow tensor,
            whatever the backend is.
        training: Whether to augment; otherwise images pass unchanged.

    Raises:
        ValueError: If `padding` is not a positive integer, or if the images
            are not larger than it.
    """

    def __init__(
        self, padding: int = 4, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(seed, **kwargs)
        self.padding = check_count("padding", padding)

    def augment(self, images):
        height, width, channels = images.shape[1:]
        if min(height, width) <= self.padding:
            raise ValueError(
                f"Images must be larger than the padding of {self.padding} "
                "pixels that reflects them. "
                f"Received: images of shape {tuple(images.shape)}"
            )
        # Padding and crop are one gather: each pixel of the crop names the
        # pixel of the image that it shows.
        n = 2 * self.padding + 1
        rows = self._reflected(height, self.draw(images, n))
        columns = self._reflected(width, self.draw(images, n))
        first = ops.arange(ops.shape(images)[0], dtype="int32") * height
        rows = first[:, None] + rows
        indices = rows[:, :, None] * width + columns[:, None, :]
        return ops.take(ops.reshape(images, (-1, channels)), indices, axis=0)

    def _reflected(self, size, start):
        index = ops.arange(size, dtype="int32") + start - self.padding
        return size - 1 - ops.abs(size - 1 - ops.abs(index))

    def get_config(self) -> dict:
        return {**super().get_config(), "padding": self.padding}


@keras.saving.register_keras_serializable("keras_davidnet")
class RandomHorizontalFlip(_RandomImageLayer):
    """Mirrors each image, left to right, with probability one half.

    Args:
        seed: An integer, for the same flips in every run.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        The same as the input's.

    Call arguments:
        images, training: As for `RandomPadCrop`.
    """

    def augment(self, images):
        flip = self.draw(images, 2)[:, :, None, None] == 1
        return ops.where(flip, ops.flip(images, axis=2), images)


@keras.saving.register_keras_serializable("keras_davidnet")
class RandomCutout(_RandomImageLayer):
    """Sets a random square of each image to zero.

    Cutout (DeVries and Taylor, 2017, arXiv:1708.04552), as DavidNet uses it:
    the square lies whole inside the image, each place equally likely.  Zero
    is the mean colour where the images are normalized before, as `DavidNet`
    does.

    Args:
        size: Side of the square, in pixels, at most height and width.  A square
            as large as the images leaves nothing of them.
        seed: An integer, for the same places in every run.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        The same as the input's.

    Call arguments:
        images, training: As for `RandomPadCrop`.

    Raises:
        ValueError: If `size` is not a positive integer, or if the images are
            smaller than it.
    """

    def __init__(self, size: int = 8, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.size = check_count("size", size)

    def augment(self, images):
        height, width = images.shape[1:3]
        if min(height, width) < self.size:
            raise ValueError(
                f"Images must be at least {self.size} pixels high and wide, "
                "the size of the square. "
                f"Received: images of shape {tuple(images.shape)}"
            )
        rows = self._inside(images, height)
        columns = self._inside(images, width)
        cut = (rows[:, :, None] & columns[:, None, :])[..., None]
        return ops.where(cut, ops.zeros_like(images), images)

    def _inside(self, images, length):
        start = self.draw(images, length - self.size + 1)
        index = ops.arange(length, dtype="int32")
        return (index >= start) & (index < start + self.size)

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size}


_WORDS = {
    "crop": RandomPadCrop,
    "flip": RandomHorizontalFlip,
    "cutout": RandomCutout,
}


def get_augmentation(
    identifier: str | keras.layers.Layer | None, channels: int, dtype: Any
) -> keras.layers.Layer | None:
    """The layer that an augmentation's name means.

    `"crop_flip_cutout"` is `RandomPadCrop(4)`, `RandomHorizontalFlip()` and
    `RandomCutout(8)`, one after the other; a number after a word is the size,
    as in `"crop2"`.  `"none"` is None.

    Args:
        identifier: A name, or a layer's config; a layer and None are returned
            as they are.
        channels: Number of channels of the images.
        dtype: Dtype of the layers that are made.

    Raises:
        ValueError: If no augmentation has that name.
        TypeError: If `identifier` is neither a string nor a layer nor None.
    """
    if isinstance(identifier, keras.layers.Layer | None):
        return identifier
    if isinstance(identifier, dict):
        return keras.layers.deserialize(identifier)
    if not isinstance(identifier, str):
        raise TypeError(
            "`augmentation` must be a Keras layer, a name or None. "
            f"Received: augmentation={identifier!r}"
        )
    if identifier == "none":
        return None
    layers = []
    for word in identifier.split("_"):
        match = re.fullmatch(r"(flip(?!\d)|crop|cutout)(\d*)", word)
        if match is None:
            raise ValueError(
                '`augmentation` must be "none" or some of '
                f"{list(_WORDS)}, joined by underscores, with a size if need "
                'be, such as "crop2_flip". '
                f"Received: augmentation={identifier!r}"
            )
        name, size = match.groups()
        layers.append(_WORDS[name](*([int(size)] if size else []), dtype=dtype))
    return keras.Sequential(
        [keras.Input((None, None, channels)), *layers], name="augmentation"
    )
