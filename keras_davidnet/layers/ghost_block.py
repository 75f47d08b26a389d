"""The block of Page's bag-of-tricks net."""

from collections.abc import Callable
from typing import Any

import keras

from keras_davidnet._checks import check_count, check_number, to_python
from keras_davidnet.initializers import PyTorchUniform, clone_initializer
from keras_davidnet.layers.celu import CELU
from keras_davidnet.layers.composite import CompositeLayer, pass_trainable
from keras_davidnet.layers.fast_layers import FastConv2D, FastMaxPooling2D
from keras_davidnet.layers.ghost_batch_norm import GhostBatchNormalization


@keras.saving.register_keras_serializable("keras_davidnet")
class GhostBlock(CompositeLayer, keras.layers.Layer):
    """Convolution, pooling, ghost batch normalization, CELU; with a branch.

    With convolutions of `filters` filters without bias, and ghost batch
    normalizations `bn` without scale:

    - `h = celu(bn1(max_pool(conv1(x))))`
    - `residual=False`: `h`
    - `residual=True`: `h + celu(bn3(conv3(celu(bn2(conv2(h))))))`

    Unlike `ResBlock` it pools before it normalizes, which is faster.

    Args:
        filters: Number of output channels.
        kernel_size: Size of all convolutions, which keep height and width.
        pool: Whether to pool by 2x2 maxima.
        residual: Whether the block has the residual branch.
        groups: Groups of each `GhostBatchNormalization`.
        alpha: The alpha of each `CELU`.
        kernel_initializer: As for `ResBlock`.
        momentum, epsilon: As for `ConvBN`.
        **kwargs: `name`, `dtype` and `trainable`, as of any Keras layer.

    Input shape:
        `(batch, height, width, channels)`; in training the batch must be a
        multiple of `groups`.

    Output shape:
        `(batch, height // 2, width // 2, filters)`; without pooling, of the
        input's height and width.

    Call arguments:
        inputs, training: As for `GhostBatchNormalization`.

    Raises:
        ValueError: As for `GhostBatchNormalization`.

    Example:

    ```python
    images = keras.Input((32, 32, 64))
    x = GhostBlock(128, residual=True)(images)  # (batch, 16, 16, 128)
    ```

    References:
        - [Page, How to Train Your ResNet 8](
          https://github.com/davidcpage/cifar10-fast)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int] = 3,
        pool: bool = True,
        residual: bool = False,
        groups: int = 16,
        alpha: float = 0.3,
        kernel_initializer: str | Callable = PyTorchUniform,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = check_count("filters", filters)
        self.kernel_size = to_python(kernel_size)
        self.residual = to_python(residual)
        self.groups = check_count("groups", groups)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.momentum = check_number("momentum", momentum, ge=0, le=1)
        self.epsilon = check_number("epsilon", epsilon, ge=0)
        self.pool = to_python(pool)
        self.max_pool = FastMaxPooling2D(
            2,
            data_format="channels_last",
            name="max_pool",
            dtype=self.dtype_policy,
        )
        self.activation = CELU(
            alpha, name="activation", dtype=self.dtype_policy
        )
        self.alpha = self.activation.alpha

        def conv_and_norm(number):
            conv = FastConv2D(
                self.filters,
                self.kernel_size,
                padding="same",
                use_bias=False,
                data_format="channels_last",
                kernel_initializer=clone_initializer(
                    self.kernel_initializer, number - 1
                ),
                name=f"conv{number}",
                dtype=self.dtype_policy,
            )
            return conv, GhostBatchNormalization(
                self.groups,
                momentum=self.momentum,
                epsilon=self.epsilon,
                scale=False,
                name=f"bn{number}",
                dtype=self.dtype_policy,
            )

        self.conv1, self.bn1 = conv_and_norm(1)
        if self.residual:
            self.conv2, self.bn2 = conv_and_norm(2)
            self.conv3, self.bn3 = conv_and_norm(3)
        pass_trainable(self)

    def build(self, input_shape):
        self.conv1.build(input_shape)
        shape = self.compute_output_shape(input_shape)
        self.bn1.build(shape)
        if self.residual:
            for layer in (self.conv2, self.bn2, self.conv3, self.bn3):
                layer.build(shape)

    def call(self, inputs, training=False):
        x = self.conv1(inputs)
        if self.pool:
            x = self.max_pool(x)
        x = h = self.activation(
            self.bn1(x, training=training), training=training
        )
        if self.residual:
            x = self.bn2(self.conv2(x), training=training)
            x = self.conv3(self.activation(x, training=training))
            x = self.bn3(x, training=training)
            x = h + self.activation(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        shape = self.conv1.compute_output_shape(input_shape)
        return self.max_pool.compute_output_shape(shape) if self.pool else shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "pool": self.pool,
            "residual": self.residual,
            "groups": self.groups,
            "alpha": self.alpha,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }
