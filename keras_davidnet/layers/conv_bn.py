"""Convolution and batch normalization as one layer."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_davidnet import _backend
from keras_davidnet._checks import check_count, check_number, to_python
from keras_davidnet.initializers import PyTorchUniform, clone_initializer
from keras_davidnet.layers.composite import (
    CompositeLayer,
    build_any,
    clone_layer,
    output_shape,
    pass_trainable,
    serialize,
)
from keras_davidnet.layers.fast_layers import (
    FastBatchNormalization,
    FastConv2D,
    FastDropout,
)


@keras.saving.register_keras_serializable("keras_davidnet")
class ConvBN(CompositeLayer, keras.layers.Layer):
    """Convolution, dropout, batch normalization, activation.

    `activation(batch_norm(dropout(conv(x))))`, the convolution without bias.
    The moving variance is the biased one, as Keras's is; PyTorch's is n / (n -
    1) times it, n being batch times height times width.

    Args:
        filters: Number of output channels.
        kernel_size: An integer or a pair, in pixels.
        strides: An integer or a pair, in pixels.
        padding: `"same"` or `"valid"`.
        activation: Name or function of the activation, None for none; or any
            layer, which is copied.
        kernel_initializer: Name, instance or class of the initializer.
        momentum: Momentum of the moving statistics, `new = momentum * old + (1
            - momentum) * batch` (PyTorch writes 0.1 for this 0.9).
        epsilon: Added to the variance.
        dropout: Fraction of the convolution's outputs set to zero in training,
            in `[0, 1)`; 0 turns dropout off.
        **kwargs: `name`, `dtype` and `trainable`, as of any Keras layer.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, filters)`; the default strides and
        padding keep height and width.

    Call arguments:
        inputs: Images or feature maps.
        training: Whether to drop out, and to normalize by the batch's
            statistics instead of the moving ones.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    ```python
    images = keras.Input((32, 32, 3))
    x = ConvBN(64)(images)
    x = ConvBN(128, strides=2, activation="gelu", dropout=0)(x)
    ```
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int] = 3,
        strides: int | tuple[int, int] = 1,
        padding: str = "same",
        activation: str | Callable | None = "relu",
        kernel_initializer: str | Callable = PyTorchUniform,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        dropout: float = 0.05,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = check_count("filters", filters)
        self.kernel_size = to_python(kernel_size)
        self.strides = to_python(strides)
        self.padding = padding
        self.activation = clone_layer(keras.activations.get(activation))
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.momentum = check_number("momentum", momentum, ge=0, le=1)
        self.epsilon = check_number("epsilon", epsilon, ge=0)
        self.dropout = check_number("dropout", dropout, ge=0, lt=1)
        self.conv = FastConv2D(
            filters,
            self.kernel_size,
            strides=self.strides,
            padding=padding,
            use_bias=False,
            data_format="channels_last",
            kernel_initializer=clone_initializer(self.kernel_initializer),
            name="conv",
            dtype=self.dtype_policy,
        )
        self.drop = FastDropout(dropout, name="drop", dtype=self.dtype_policy)
        self.bn = FastBatchNormalization(
            momentum=momentum,
            epsilon=epsilon,
            name="bn",
            dtype=self.dtype_policy,
        )
        pass_trainable(self)

    def build(self, input_shape):
        # Loading finds the weights of built sublayers only.
        self.conv.build(input_shape)
        shape = self.conv.compute_output_shape(input_shape)
        self.bn.build(shape)
        build_any(self.activation, shape)

    def call(self, inputs, training=False):
        x = self.conv(inputs)
        x = self.drop(x, training=training)
        x = self.bn(x, training=training)
        x = _backend.activate(self.activation, x, training)
        # A layer given as activation may have another precision.
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return output_shape(
            self.activation, self.conv.compute_output_shape(input_shape)
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "activation": serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "dropout": self.dropout,
        }
