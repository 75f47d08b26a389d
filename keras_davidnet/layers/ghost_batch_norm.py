"""Batch normalization over parts of the batch."""

from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.layers.batch_norm import (
    BACKEND,
    FastInference,
    move_statistics,
    normalize,
)

if BACKEND == "tensorflow":
    import tensorflow as tf

    def kernel_is_faster() -> bool:
        # A GPU has XLA, which fuses the operations itself.
        return not tf.config.list_physical_devices("GPU")

else:

    def kernel_is_faster() -> bool:
        # On torch both take about the same time, on JAX there is none.
        return False


@keras.saving.register_keras_serializable("keras_davidnet")
class GhostBatchNormalization(FastInference):
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
            momentum=check_number("momentum", momentum, ge=0, le=1),
            epsilon=check_number("epsilon", epsilon, ge=0),
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
        batch = inputs.shape[0]
        if batch is not None and batch % self.groups:
            raise ValueError(
                "The batch size in training must be a multiple of "
                f"groups={self.groups}; drop the last batch if it is smaller. "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        shape = ops.shape(inputs)
        x = ops.reshape(inputs, (-1, self.groups, *shape[1:]))
        by_kernel = self._fusible and kernel_is_faster()
        normalize_groups = self._by_kernel if by_kernel else self._at_once
        outputs, mean, variance = normalize_groups(x)
        move_statistics(self, mean, variance)
        outputs = ops.reshape(outputs, shape)
        return ops.cast(outputs, self.compute_dtype)

    def _by_kernel(self, x):
        """The outputs, and mean and variance, averaged over the groups."""
        outputs, means, variances = zip(
            *(
                normalize(self, part)
                for part in ops.unstack(x, self.groups, axis=1)
            ),
            strict=True,
        )
        return (
            ops.stack(outputs, axis=1),
            sum(means) / self.groups,
            sum(variances) / self.groups,
        )

    def _at_once(self, x):
        """As `_by_kernel`, by operations on all groups."""
        # As Keras: 16 bits are too few for sums over images.
        x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
        # The axis of the channels has one more before it.
        channels = self.axis % (len(x.shape) - 1) + 1
        axes = [a for a in range(len(x.shape)) if a not in (1, channels)]
        mean, variance = ops.moments(x, axes, keepdims=True)
        scale = ops.rsqrt(variance + self.epsilon)
        aligned = [1] * len(x.shape)
        aligned[channels] = x.shape[channels]
        # Not in place: torch's gradient needs what was there.
        if self.scale:
            scale = scale * ops.reshape(ops.cast(self.gamma, x.dtype), aligned)
        outputs = (x - mean) * scale
        if self.center:
            outputs = outputs + ops.reshape(
                ops.cast(self.beta, x.dtype), aligned
            )
        statistics = (
            ops.reshape(ops.mean(values, axis=1), aligned[channels])
            for values in (mean, variance)
        )
        return outputs, *statistics

    def get_config(self) -> dict:
        return {**super().get_config(), "groups": self.groups}
