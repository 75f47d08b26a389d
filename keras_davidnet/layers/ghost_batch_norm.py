"""Batch normalization over parts of the batch."""

from typing import Any

import keras
from keras import ops

from keras_davidnet import _backend
from keras_davidnet._checks import check_count, check_number
from keras_davidnet.layers.fast_layers import FastBatchNormalization


@keras.saving.register_keras_serializable("keras_davidnet")
class GhostBatchNormalization(FastBatchNormalization):
    """Batch normalization of each of `groups` parts of the batch by itself.

    In training, image `i` of the batch belongs to group `i % groups`, and each
    group is normalized by its own mean and variance.  Their noise regularizes,
    like smaller batches.  The moving statistics follow the mean over the
    groups; inference is ordinary batch normalization, for any batch size.
    Under `tf.distribute` each replica divides its part into `groups` groups.

    Args:
        groups: Number of parts.
        momentum, epsilon: As for `ConvBN`.
        **kwargs: Arguments of `keras.layers.BatchNormalization`: `scale`,
            `center`, ...

    Input shape:
        `(batch, ..., channels)`; in training the batch must be a multiple of
        `groups`.

    Output shape:
        The same as the input's.

    Call arguments:
        inputs: A tensor.
        training: Whether to normalize by the groups' statistics instead of the
            moving ones.

    Raises:
        ValueError: If an argument is out of its range, for
            `synchronized=True` or `renorm=True`; in training, if the batch is
            known not to be a multiple of `groups`, or has a mask.

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
        for name in ("synchronized", "renorm"):
            if kwargs.get(name):
                raise ValueError(
                    "Groups have statistics of their own, on every replica. "
                    f"Received: {name}={kwargs[name]!r}"
                )
        super().__init__(
            momentum=check_number("momentum", momentum, ge=0, le=1),
            epsilon=check_number("epsilon", epsilon, ge=0),
            **kwargs,
        )
        self.groups = check_count("groups", groups)

    def build(self, input_shape):
        super().build(input_shape)
        # The groups are each replica's own.
        self.synchronized = False

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        if mask is not None:
            raise ValueError(
                f"A batch in groups cannot have a mask. Received: mask={mask!r}"
            )
        message = (
            "The batch size in training must be a multiple of "
            f"groups={self.groups}; drop the last batch if it is smaller. "
            f"Received: inputs of shape {tuple(inputs.shape)}"
        )
        batch = inputs.shape[0]
        if batch is None:
            inputs = _backend.check_multiple(inputs, self.groups, message)
        elif batch % self.groups:
            raise ValueError(message)
        shape = ops.shape(inputs)
        x = ops.reshape(inputs, (-1, self.groups, *shape[1:]))
        if self.takes_kernel and _backend.kernel_per_group():
            outputs, means, variances = zip(
                *map(self.normalize, ops.unstack(x, self.groups, axis=1)),
                strict=True,
            )
            outputs = ops.stack(outputs, axis=1)
            statistics = [sum(s) / self.groups for s in (means, variances)]
        else:
            outputs, *statistics = self._normalize_at_once(x)
        self.update_statistics(*statistics)
        outputs = ops.reshape(outputs, shape)
        return ops.cast(outputs, self.compute_dtype)

    def _normalize_at_once(self, x):
        """The outputs, and mean and variance, averaged over the groups."""
        # As Keras: 16 bits are too few for sums over images.
        x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
        # The axis of the channels has one more before it.
        channels = self.axis % (len(x.shape) - 1) + 1
        axes = [a for a in range(len(x.shape)) if a not in (1, channels)]
        mean, variance = ops.moments(x, axes, keepdims=True)
        scale = ops.rsqrt(variance + self.epsilon)
        aligned = [1] * len(x.shape)
        aligned[channels] = -1
        # Not in place: torch's gradient needs what was there.
        if self.scale:
            scale = scale * ops.reshape(ops.cast(self.gamma, x.dtype), aligned)
        outputs = (x - mean) * scale
        if self.center:
            beta = ops.reshape(ops.cast(self.beta, x.dtype), aligned)
            outputs = outputs + beta
        return outputs, *(
            ops.ravel(ops.mean(values, axis=1)) for values in (mean, variance)
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "groups": self.groups}
