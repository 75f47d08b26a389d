"""The residual block of DavidNet."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import to_python
from keras_davidnet.initializers import PyTorchUniform, clone_initializer
from keras_davidnet.layers.composite import (
    CompositeLayer,
    build_any,
    clone_layer,
    output_shape,
    pass_trainable,
    serialize,
)
from keras_davidnet.layers.conv_bn import ConvBN
from keras_davidnet.layers.fast_layers import FastMaxPooling2D


@keras.saving.register_keras_serializable("keras_davidnet")
class ResBlock(CompositeLayer, keras.layers.Layer):
    """A `ConvBN`, a pooling and, if wanted, a residual branch.

    With `h = pool(conv(x))`, where `conv`, `res1` and `res2` are `ConvBN`s:

    - `residual=False`: `h`
    - `residual=True`: `h + res2(res1(h))`, with no activation after the sum.

    Args:
        filters: Number of output channels.
        residual: Whether the block has the residual branch.
        pool: `"max"` for 2x2 max pooling, None for none, or any layer, which
            is copied.
        kernel_size: Size of all convolutions, which keep height and width.
        activation, momentum, epsilon, dropout: As for `ConvBN`.
        kernel_initializer: As for `ConvBN`.  The three kernels never share a
            draw; a seed of `s` gives them `s`, `s + 1` and `s + 2`.
        **kwargs: `name`, `dtype` and `trainable`, as of any Keras layer.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, filters)`; the default pooling halves
        height and width.

    Call arguments:
        inputs, training: As for `ConvBN`.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If `pool` is neither `"max"` nor None nor a layer.

    Example:

    ```python
    images = keras.Input((64, 64, 3))
    x = ResBlock(64, residual=True)(images)
    x = ResBlock(128, pool=keras.layers.AveragePooling2D(2))(x)
    ```
    """

    def __init__(
        self,
        filters: int,
        residual: bool = False,
        pool: str | keras.layers.Layer | None = "max",
        kernel_size: int | tuple[int, int] = 3,
        activation: str | Callable | None = "relu",
        kernel_initializer: str | Callable = PyTorchUniform,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        dropout: float = 0.05,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        # A word stays a word in the config: the pooling takes the precision of
        # whatever block is made from it.
        self._pool_word = pool if isinstance(pool, str) else None
        if pool == "max":
            pool = FastMaxPooling2D(
                2,
                data_format="channels_last",
                dtype=self.dtype_policy,
                name="pool",
            )
        elif isinstance(pool, dict):
            pool = keras.layers.deserialize(pool)
        if not (pool is None or isinstance(pool, keras.layers.Layer)):
            raise TypeError(
                '`pool` must be "max", None or a Keras layer. '
                f"Received: pool={pool!r} of type {type(pool).__name__}"
            )
        self.residual = to_python(residual)
        self.pool = clone_layer(pool)
        self.kernel_size = to_python(kernel_size)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

        def conv_bn(index, name):
            return ConvBN(
                filters,
                self.kernel_size,
                activation=activation,
                kernel_initializer=clone_initializer(
                    self.kernel_initializer, index
                ),
                momentum=momentum,
                epsilon=epsilon,
                dropout=dropout,
                dtype=self.dtype_policy,
                name=name,
            )

        self.conv = conv_bn(0, "conv")
        if self.residual:
            self.res1 = conv_bn(1, "res1")
            self.res2 = conv_bn(2, "res2")
        self.filters = self.conv.filters
        self.momentum = self.conv.momentum
        self.epsilon = self.conv.epsilon
        self.dropout = self.conv.dropout
        pass_trainable(self)

    def build(self, input_shape):
        self.conv.build(input_shape)
        shape = self.conv.compute_output_shape(input_shape)
        shape = build_any(self.pool, shape)
        if self.residual:
            self.res1.build(shape)
            self.res2.build(shape)

    @property
    def activation(self):
        """The first convolution's activation; the others have copies."""
        return self.conv.activation

    def call(self, inputs, training=False):
        x = self.conv(inputs, training=training)
        if self.pool is not None:
            # A layer given as pool may have another precision.
            x = ops.cast(self.pool(x), self.compute_dtype)
        if self.residual:
            x = x + self.res2(
                self.res1(x, training=training), training=training
            )
        return x

    def compute_output_shape(self, input_shape):
        return output_shape(
            self.pool, self.conv.compute_output_shape(input_shape)
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "residual": self.residual,
            "pool": self._pool_word or serialize(self.pool),
            "kernel_size": self.kernel_size,
            "activation": serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "dropout": self.dropout,
        }
