"""Convolutions and their normalizations, numbered."""

from collections.abc import Callable

import keras

from keras_davidnet.initializers import clone_initializer
from keras_davidnet.layers.fast_layers import FastConv2D


def add_conv_pairs(
    layer: keras.layers.Layer,
    count: int,
    kernel_size: int | tuple[int, int],
    normalization: Callable[..., keras.layers.BatchNormalization],
) -> None:
    """Gives a layer `conv1` and `bn1`, `conv2` and `bn2`, ...

    The convolutions have no bias and the normalizations no scale; the rest is
    the layer's: `filters`, `kernel_initializer`, `momentum`, `epsilon`,
    precision.
    """
    # Keras hands `trainable` on when it is set, but not when it is given.
    common = {"trainable": layer.trainable, "dtype": layer.dtype_policy}
    for index in range(count):
        conv = FastConv2D(
            layer.filters,
            kernel_size,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            kernel_initializer=clone_initializer(
                layer.kernel_initializer, index
            ),
            name=f"conv{index + 1}",
            **common,
        )
        norm = normalization(
            momentum=layer.momentum,
            epsilon=layer.epsilon,
            scale=False,
            name=f"bn{index + 1}",
            **common,
        )
        setattr(layer, conv.name, conv)
        setattr(layer, norm.name, norm)
