"""CELU with any alpha."""

from typing import Any

import keras

from keras_davidnet import _backend
from keras_davidnet._checks import check_number


@keras.saving.register_keras_serializable("keras_davidnet")
class CELU(keras.layers.Layer):
    """The activation `max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`.

    Keras's word `"celu"` means an alpha of 1.

    Args:
        alpha: `-alpha` is the lower bound; the smaller, the closer to ReLU.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

    Input shape:
        Any; the output has the same.

    Call arguments:
        inputs: A tensor.
        training: Whether to compile values and gradient together, which is
            faster on TensorFlow; the numbers are the same to within rounding.

    Raises:
        ValueError: If `alpha` is not positive.

    Example:

    ```python
    x = ConvBN(64, activation=CELU(0.3))(images)
    ```

    References:
        - [Barron, 2017](https://arxiv.org/abs/1704.07483)
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha, gt=0)
        self.supports_masking = True

    def call(self, inputs, training=False):
        return _backend.celu(inputs, self.alpha, training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "alpha": self.alpha}
