"""Whitening of image patches, as the first layer of a net."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_davidnet import _backend
from keras_davidnet._array_checks import (
    check_finite,
    describe,
    first_images,
)
from keras_davidnet._checks import check_count, check_number, to_python
from keras_davidnet.initializers import clone_initializer


@keras.saving.register_keras_serializable("keras_davidnet")
class WhiteningConv2D(keras.layers.Layer):
    """A convolution whose outputs are the whitened patches of the images.

    Its filters are the eigenvectors `v` of the patches' second-moment matrix,
    each as `v / sqrt(eigenvalue + epsilon)`, and their negatives: the outputs
    of the first half have unit variance and no correlation.  Directions in
    which patches do not vary are replaced by some in which they do.  `adapt`
    computes the filters from images; they are not trained, the bias is.

    Args:
        kernel_size: Height and width of the patches in pixels.
        epsilon: Added to the eigenvalues.
        padding: `"valid"`, or `"same"` for zeros around the images.  `adapt`
            never counts them.
        negatives: Whether to have the negatives.
        use_bias: Whether to have a bias.
        bias_initializer: Name, instance or class of the bias's initializer.
        centered: Whether `adapt` subtracts the patches' mean: the matrix is
            then their covariance.
        **kwargs: `name`, `dtype` and `trainable`, as of any Keras layer.

    Input shape:
        `(batch, height, width, channels)`, normalized images.

    Output shape:
        `(batch, height - kernel_size + 1, width - kernel_size + 1, 2 *
        kernel_size**2 * channels)`; with the padding `"same"` of the input's
        height and width; without negatives, half as many channels.

    Call arguments:
        inputs: Normalized images.
        training: Whether to refuse to work without filters.

    Raises:
        ValueError: If an argument is out of its range; in training, if
            the layer has no filters.

    Example:

    ```python
    whitening = WhiteningConv2D()
    whitening.adapt(images)  # (n, 32, 32, 3), normalized
    features = whitening(images)  # (n, 31, 31, 24)
    ```

    References:
        - [Page, How to Train Your ResNet 8](
          https://github.com/davidcpage/cifar10-fast), which whitens patches.
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498), for the negatives
          and the numbers that are the defaults here.
    """

    def __init__(
        self,
        kernel_size: int = 2,
        epsilon: float = 5e-4,
        padding: str = "valid",
        negatives: bool = True,
        use_bias: bool = True,
        bias_initializer: str | Callable = "zeros",
        centered: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kernel_size = check_count("kernel_size", kernel_size)
        self.epsilon = check_number("epsilon", epsilon, ge=0)
        if padding not in ("valid", "same"):
            raise ValueError(
                '`padding` must be "valid" or "same". '
                f"Received: padding={padding!r}"
            )
        self.padding = padding
        self.negatives = to_python(negatives)
        self.use_bias = to_python(use_bias)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.centered = to_python(centered)
        self._known_adapted = False

    def build(self, input_shape):
        channels = input_shape[-1]
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})
        filters = self._filters(channels)
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, channels, filters),
            # What `adapt` finds is never zero.
            initializer="zeros",
            trainable=False,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(filters,),
                initializer=clone_initializer(self.bias_initializer),
                name="bias",
            )

    def _filters(self, channels):
        return self.kernel_size**2 * channels * (2 if self.negatives else 1)

    @property
    def adapted(self) -> bool:
        """Whether the layer has its filters, by `adapt` or from a file."""
        if self.built and not self._known_adapted:
            kernel = _backend.peek(self.kernel)
            self._known_adapted = kernel is not None and bool(kernel.any())
        return self._known_adapted

    def adapt(self, images) -> None:
        """Computes the filters from all patches of images, at stride 1.

        Args:
            images: `(n, height, width, channels)`, normalized like the images
                that the layer will see; 5,000 of CIFAR-10 in the recipes.  Or
                batches of them, which may have labels.

        Raises:
            ValueError: If the images are of another shape or dtype, not
                finite, constant, or hold fewer patches than a patch holds
                numbers.
        """
        images = first_images("images", images)
        channels = self.kernel.shape[2] if self.built else images.shape[-1]
        if images.ndim != 4 or images.shape[-1] != channels:
            raise ValueError(
                "`images` must be of shape (n, height, width, channels), with "
                "the channels that the layer was built for. "
                f"Received: {describe('images', images)}"
            )
        if not self.built:
            self.build(images.shape)
        size = self.kernel_size
        n, height, width = images.shape[:3]
        patches = n * max(0, height - size + 1) * max(0, width - size + 1)
        length = size * size * channels
        if patches < length:
            raise ValueError(
                f"`images` must hold at least {length} patches of {size}x"
                f"{size} pixels, as many as a patch holds numbers. "
                f"Received: {describe('images', images)}"
            )
        check_finite("images", images)
        if not np.ptp(images, axis=(0, 1, 2)).any():
            raise ValueError(
                "`images` must not be constant: there is nothing to whiten. "
                f"Received: {describe('images', images)}"
            )
        moments, mean = np.zeros((length, length)), np.zeros(length)
        # A part at a time: the patches take four times the images' memory.
        for part in np.array_split(images, -(-n // 500)):
            windows = np.lib.stride_tricks.sliding_window_view(
                part, (size, size), axis=(1, 2)
            )
            vectors = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, length)
            vectors = vectors.astype("float64")
            moments += vectors.T @ vectors / patches
            mean += vectors.sum(axis=0) / patches
        if self.centered:
            moments -= np.outer(mean, mean)
        values, vectors = np.linalg.eigh(moments)
        filters = vectors / np.sqrt(values.clip(min=0) + self.epsilon)
        # Where no patch varies, as with grey images of three channels, the
        # output would be rounding errors, which a batch normalization raises
        # to the size of a signal: take filters of the other directions.
        varies = values > values[-1] * np.finfo("float32").eps
        filters = filters[:, np.resize(np.flatnonzero(varies), length)]
        filters = filters.reshape(size, size, channels, length)
        if self.negatives:
            filters = np.concatenate([filters, -filters], axis=-1)
        self.kernel.assign(filters)
        self._known_adapted = True

    def set_weights(self, weights):
        super().set_weights(weights)
        self._known_adapted = self.adapted

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self._known_adapted = self.adapted

    def call(self, inputs, training=False):
        if training and not self.adapted:
            raise ValueError(
                "The whitening has no filters yet: call `adapt(images)` of the "
                "layer, or of the net that it is in, with training images "
                "before training. On JAX, if an outer model's `set_weights` "
                "set them, read the layer's `adapted` before `fit`. "
                f"Received: {self.name}.adapted=False"
            )
        outputs = ops.conv(
            inputs,
            ops.cast(self.kernel, self.compute_dtype),
            padding=self.padding,
            data_format="channels_last",
        )
        if self.use_bias:
            outputs = outputs + ops.cast(self.bias, self.compute_dtype)
        return outputs

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        if self.padding == "valid":
            height, width = (
                size and size - self.kernel_size + 1 for size in (height, width)
            )
        return batch, height, width, self._filters(channels)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "epsilon": self.epsilon,
            "padding": self.padding,
            "negatives": self.negatives,
            "use_bias": self.use_bias,
            "bias_initializer": keras.initializers.serialize(
                self.bias_initializer
            ),
            "centered": self.centered,
        }
