"""The residual block of DavidNet."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import to_python
from keras_davidnet.initializers import PyTorchUniform, clone_initializer
from keras_davidnet.layers.conv_bn import ConvBN
from keras_davidnet.layers.max_pool import FastMaxPooling2D
from keras_davidnet.layers.part import (
    Part,
    build_any,
    clone_layer,
    output_shape,
    unbuilt,
)


@keras.saving.register_keras_serializable("keras_davidnet")
class ResBlock(Part, keras.layers.Layer):
    """A `ConvBN`, a pooling and, if wanted, a residual branch.

    With `h = pool(conv(x))`, where `conv`, `res1` and `res2` are `ConvBN`s:

    - `residual=False`: `h`
    - `residual=True`: `h + res2(res1(h))`, with no activation after the sum.

    Input: `(batch, height, width, channels)`.  Output: `(batch, new_height,
    new_width, filters)`, half the height and width under the default pooling.

    Args:
        filters: Number of output channels.
        residual: Whether the block has the residual branch.
        pool: `"max"` for 2x2 max pooling, None for none, or any
            layer, of which a copy is used.
        kernel_size: Size of all convolutions, which keep height and width.
        activation: As for `ConvBN`.
        kernel_initializer: As for `ConvBN`.  The three kernels never share a
            draw; a seed of `s` gives them `s`, `s + 1` and `s + 2`.
        momentum: As for `ConvBN`.
        epsilon: As for `ConvBN`.
        dropout: As for `ConvBN`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

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
        if not (pool is None or isinstance(pool, keras.layers.Layer)):
            raise TypeError(
                '`pool` must be "max", None or a Keras layer. '
                f"Received: pool={pool!r} of type {type(pool).__name__}"
            )
        self.residual = to_python(residual)
        self.pool = clone_layer(pool)
        self.kernel_size = to_python(kernel_size)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.conv, *branch = (
            ConvBN(
                filters,
                self.kernel_size,
                activation=activation,
                kernel_initializer=clone_initializer(
                    self.kernel_initializer, index
                ),
                momentum=momentum,
                epsilon=epsilon,
                dropout=dropout,
                trainable=self.trainable,
                dtype=self.dtype_policy,
                name=name,
            )
            for index, name in enumerate(
                ("conv", "res1", "res2") if residual else ("conv",)
            )
        )
        self.res1: Any
        self.res2: Any
        self.res1, self.res2 = branch or (None, None)
        self.filters = self.conv.filters
        self.momentum = self.conv.momentum
        self.epsilon = self.conv.epsilon
        self.dropout = self.conv.dropout

    def build(self, input_shape):
        self.conv.build(input_shape)
        shape = self.conv.compute_output_shape(input_shape)
        shape = build_any(self.pool, shape)
        if self.residual:
            self.res1.build(shape)
            self.res2.build(shape)

    @property
    def activation(self):
        """That of the first convolution; the others have copies."""
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
            "pool": self._pool_word
            or (self.pool and unbuilt(keras.layers.serialize(self.pool))),
            "kernel_size": self.kernel_size,
            "activation": unbuilt(keras.activations.serialize(self.activation)),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("pool"), dict):
            pool = keras.layers.deserialize(config["pool"])
            config = {**config, "pool": pool}
        return super().from_config(config)
