"""Batch normalization over parts of the batch."""

from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import (
    check_count,
    check_momentum,
    check_not_negative,
)


@keras.saving.register_keras_serializable("keras_davidnet")
class GhostBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization of each of `groups` parts of the batch by itself.

    In training, image `i` of the batch belongs to group `i % groups`, and each
    group is normalised by its own mean and variance.  Their noise regularises,
    as that of smaller batches does.  In inference it is ordinary batch
    normalization, for any batch size.

    The moving statistics are those of the groups' mean statistics.  The source
    keeps a set per group and averages the sets for inference, which is the
    same: a moving average is linear.

    Statistics are computed in float32 under mixed precision.  Under
    `tf.distribute` each replica divides its part into `groups` groups.

    Input and output: `(batch, ..., channels)`.

    Args:
        groups: Number of parts.
        momentum: Momentum of the moving statistics, `new = momentum * old + (1
            - momentum) * batch` (PyTorch writes 0.1 for this 0.9).
        epsilon: Added to the variance.
        **kwargs: Arguments of `keras.layers.BatchNormalization`: `scale`,
            `center`, ...

    Raises:
        ValueError: If an argument is out of its range, or for
            `synchronized=True`; in training, if the batch is known not to
            be a multiple of `groups`, or has a mask.

    Example:

    ```python
    norm = GhostBatchNormalization(groups=16, scale=False)
    outputs = norm(images, training=True)  # (512, 8, 8, 64): 32 per group
    ```

    References:
        - [Hoffer et al., 2017](https://arxiv.org/abs/1705.08741)
        - [Page, How to Train Your ResNet 8](
          https://github.com/davidcpage/cifar10-fast), whose groups these are.
    """

    def __init__(
        self,
        groups: int = 16,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        if kwargs.get("synchronized"):
            raise ValueError(
                "The statistics of groups are never those of all replicas. "
                f"Received: synchronized={kwargs['synchronized']!r}"
            )
        super().__init__(
            momentum=check_momentum("momentum", momentum),
            epsilon=check_not_negative("epsilon", epsilon),
            **kwargs,
        )
        self.groups = check_count("groups", groups)

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        if mask is not None:
            raise ValueError(
                f"A batch in groups cannot have a mask. Received: mask={mask!r}"
            )
        batch, *shape = inputs.shape
        if batch is not None and batch % self.groups:
            raise ValueError(
                "The batch size in training must be a multiple of "
                f"groups={self.groups}; drop the last batch if it is smaller. "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        # As Keras: 16 bits are too few for sums over images.
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        x = ops.reshape(ops.cast(inputs, dtype), (-1, self.groups, *shape))
        # The axis of the channels has one more before it.
        channels = self.axis % (len(shape) + 1) + 1
        axes = [a for a in range(len(shape) + 2) if a not in (1, channels)]
        mean, variance = ops.moments(x, axes, keepdims=True)
        scale = ops.rsqrt(variance + self.epsilon)
        aligned = [1] * (len(shape) + 2)
        aligned[channels] = shape[channels - 2]
        if self.scale:
            scale *= ops.reshape(ops.cast(self.gamma, dtype), aligned)
        outputs = (x - mean) * scale
        if self.center:
            outputs += ops.reshape(ops.cast(self.beta, dtype), aligned)
        for moving, group in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            now = ops.reshape(ops.mean(group, axis=1), moving.shape)
            moving.assign(
                self.momentum * moving
                + (1 - self.momentum) * ops.cast(now, moving.dtype)
            )
        outputs = ops.reshape(outputs, (-1, *shape))
        return ops.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "groups": self.groups}
