"""CELU with any alpha."""

from typing import Any

import keras

from keras_davidnet._checks import check_number
from keras_davidnet.layers.one_pass import one_pass
from keras_davidnet.layers.part import Part

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from keras_davidnet.layers.one_pass import widened

    @widened
    def celu(x, alpha):
        # Keras's has three passes more, and at 0 a gradient of 2: both of its
        # branches count there.
        return alpha * tf.nn.elu(x / alpha)

else:
    celu = keras.activations.celu


@keras.saving.register_keras_serializable("keras_davidnet")
class CELU(Part, keras.layers.Layer):
    """The activation `max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`.

    Keras's word `"celu"` means an alpha of 1.

    Args:
        alpha: `-alpha` is the lower bound; the smaller, the closer to ReLU.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

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

    def build(self, input_shape):
        """There is nothing to build."""

    def call(self, inputs, training=False):
        if training:
            return one_pass(celu, self.alpha)(inputs)
        return celu(inputs, self.alpha)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "alpha": self.alpha}
