"""The convolution group of airbench's nets."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_davidnet import _backend
from keras_davidnet._checks import (
    check_count,
    check_number,
    check_three_counts,
    to_python,
)
from keras_davidnet.initializers import Dirac, clone_initializer
from keras_davidnet.layers.composite import (
    CompositeLayer,
    build_any,
    clone_layer,
    pass_trainable,
    serialize,
)
from keras_davidnet.layers.fast_layers import (
    FastBatchNormalization,
    FastConv2D,
    FastMaxPooling2D,
)


@keras.saving.register_keras_serializable("keras_davidnet")
class ConvGroup(CompositeLayer, keras.layers.Layer):
    """Two or three convolutions, the first one pooled, as in airbench.

    With convolutions without bias, and batch normalizations `bn`:

    - `h = act(bn1(max_pool(conv1(x))))`
    - `residual=False`: `act(bn2(conv2(h)))`
    - `residual=True`: `act(bn3(conv3(act(bn2(conv2(h))))) + h)`
    - `activate_sum=False` as well: `act(bn3(conv3(act(bn2(conv2(h)))))) + h`

    Args:
        filters: Number of output channels.
        residual: Whether the group has the third convolution and the sum, as
            the nets for 96% have.
        activation: Name or function of the activation; or any layer that keeps
            the shape, which is copied for each convolution.
        kernel_initializer: As for `ResBlock`.
        momentum: As for `ConvBN`; PyTorch writes 0.4 for this 0.6.
        epsilon: Added to the variance.
        kernel_sizes: Height and width of each convolution's kernel, in pixels;
            the third counts with `residual` only.
        inner_filters: Number of channels between the second and the third
            convolution, with `residual`; by default `filters`.
        scale: Whether the batch normalizations have a scale.
        activate_sum: Whether the last activation comes after the sum.
        **kwargs: `name`, `dtype` and `trainable`, as of any Keras layer.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, height // 2, width // 2, filters)`.

    Call arguments:
        inputs, training: As for `ConvBN`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    ```python
    images = keras.Input((31, 31, 24))
    x = ConvGroup(64)(images)  # (batch, 15, 15, 64)
    ```

    References:
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498)
    """

    def __init__(
        self,
        filters: int,
        residual: bool = False,
        activation: str | Callable = "gelu",
        kernel_initializer: str | Callable = Dirac,
        momentum: float = 0.6,
        epsilon: float = 1e-12,
        kernel_sizes: Sequence[int] = (3, 3, 3),
        inner_filters: int | None = None,
        scale: bool = False,
        activate_sum: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = check_count("filters", filters)
        self.residual = to_python(residual)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.momentum = check_number("momentum", momentum, ge=0, le=1)
        self.epsilon = check_number("epsilon", epsilon, ge=0)
        self.kernel_sizes = check_three_counts("kernel_sizes", kernel_sizes)
        self.inner_filters = inner_filters and check_count(
            "inner_filters", inner_filters
        )
        self.scale = to_python(scale)
        self.activate_sum = to_python(activate_sum)
        self.pool = FastMaxPooling2D(
            2, data_format="channels_last", name="pool", dtype=self.dtype_policy
        )
        self.activations = [
            clone_layer(keras.activations.get(activation), index)
            for index in range(3 if residual else 2)
        ]

        def conv_and_norm(number, filters):
            conv = FastConv2D(
                filters,
                self.kernel_sizes[number - 1],
                padding="same",
                use_bias=False,
                data_format="channels_last",
                kernel_initializer=clone_initializer(
                    self.kernel_initializer, number - 1
                ),
                name=f"conv{number}",
                dtype=self.dtype_policy,
            )
            return conv, FastBatchNormalization(
                momentum=self.momentum,
                epsilon=self.epsilon,
                scale=self.scale,
                name=f"bn{number}",
                dtype=self.dtype_policy,
            )

        inner = self.filters
        if self.residual and self.inner_filters:
            inner = self.inner_filters
        self.conv1, self.bn1 = conv_and_norm(1, self.filters)
        self.conv2, self.bn2 = conv_and_norm(2, inner)
        if self.residual:
            self.conv3, self.bn3 = conv_and_norm(3, self.filters)
        pass_trainable(self)

    def build(self, input_shape):
        self.conv1.build(input_shape)
        shape = self.compute_output_shape(input_shape)
        inner_shape = (*shape[:-1], self.conv2.filters)
        self.bn1.build(shape)
        self.conv2.build(shape)
        self.bn2.build(inner_shape)
        if self.residual:
            self.conv3.build(inner_shape)
            self.bn3.build(shape)
        shapes = shape, inner_shape, shape
        for activation, shape in zip(self.activations, shapes, strict=False):
            build_any(activation, shape)

    @property
    def activation(self):
        """The first convolution's activation; the others have copies."""
        return self.activations[0]

    def call(self, inputs, training=False):
        x = self.pool(self.conv1(inputs))
        x = h = self._activate(0, self.bn1(x, training=training), training)
        x = self.bn2(self.conv2(x), training=training)
        x = self._activate(1, x, training)
        if self.residual:
            x = self.bn3(self.conv3(x), training=training)
            if self.activate_sum:
                x = self._activate(2, x + h, training)
            else:
                x = self._activate(2, x, training) + h
        return x

    def _activate(self, index, x, training):
        # A layer given as activation may have another precision.
        return ops.cast(
            _backend.activate(self.activations[index], x, training),
            self.compute_dtype,
        )

    def compute_output_shape(self, input_shape):
        return self.pool.compute_output_shape(
            self.conv1.compute_output_shape(input_shape)
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "residual": self.residual,
            "activation": serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "kernel_sizes": self.kernel_sizes,
            "inner_filters": self.inner_filters,
            "scale": self.scale,
            "activate_sum": self.activate_sum,
        }
