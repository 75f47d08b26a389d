"""Batch normalization by the backend's fused kernel, where there is one."""

import keras
from keras import ops

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow":
    import tensorflow as tf

    def synchronized() -> bool:
        return tf.distribute.get_strategy().num_replicas_in_sync > 1

    def kernel(inputs, gamma, beta, epsilon, statistics):
        training = statistics is None
        channels = inputs.shape[-1]
        mean, variance = ([], []) if training else statistics
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.ones(channels) if gamma is None else gamma,
            offset=tf.zeros(channels) if beta is None else beta,
            mean=mean,
            variance=variance,
            epsilon=epsilon,
            is_training=training,
        )
        if training:
            # The kernel's variance is the unbiased one; Keras keeps the biased.
            n = tf.cast(tf.size(inputs) // channels, variance.dtype)
            variance = variance * (n - 1) / n
        return outputs, mean, variance

elif BACKEND == "torch":
    import torch

    def synchronized() -> bool:
        return False

    def kernel(inputs, gamma, beta, epsilon, statistics):
        training = statistics is None
        mean, variance = (
            torch.zeros((2, inputs.shape[-1]), device=inputs.device)
            if training
            else statistics
        )
        outputs = torch.batch_norm(
            # A view, which the kernel knows as channels last.
            inputs.permute(0, 3, 1, 2),
            gamma,
            beta,
            mean,
            variance,
            training,
            1.0,  # momentum: what is returned is this batch's
            epsilon,
            True,  # cudnn_enabled
        )
        if training:
            # As above; and that of a single value is 0 / 0.
            n = inputs.numel() // inputs.shape[-1]
            factor = (n - 1) / n
            variance = variance * factor if factor else torch.zeros_like(mean)
        return outputs.permute(0, 2, 3, 1), mean, variance


def fusible(layer, input_shape) -> bool:
    """Whether the kernel computes what the layer does."""
    return (
        BACKEND != "jax"
        and len(input_shape) == 4
        and layer.axis in (-1, 3)
        and layer.variable_dtype == "float32"
        and not layer.synchronized
        and not layer.renorm
    )


def normalize(layer, inputs, statistics=None):
    """The outputs, and the mean and variance of each channel.

    These are the `statistics`, or without any those of the inputs.
    """
    return kernel(
        ops.cast(inputs, layer.compute_dtype),
        ops.convert_to_tensor(layer.gamma) if layer.scale else None,
        ops.convert_to_tensor(layer.beta) if layer.center else None,
        layer.epsilon,
        statistics,
    )


def move_statistics(layer, mean, variance):
    """Moves the moving statistics towards those of a batch."""
    for moving, batch in (
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        moving.assign(
            layer.momentum * moving
            + (1 - layer.momentum) * ops.cast(batch, moving.dtype)
        )


class FastInference(keras.layers.BatchNormalization):
    """Keras's layer; TensorFlow and torch infer images in one kernel."""

    def build(self, input_shape):
        super().build(input_shape)
        self._fusible = fusible(self, input_shape)

    def call(self, inputs, training=None, mask=None):
        if not self._fusible or (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        moving = self.moving_mean, self.moving_variance
        statistics = tuple(map(ops.convert_to_tensor, moving))
        outputs, *_ = normalize(self, inputs, statistics)
        return outputs


@keras.saving.register_keras_serializable("keras_davidnet")
class FusedBatchNormalization(FastInference):
    """Keras's layer; TensorFlow and torch compute it on images in one kernel.

    Keras puts batch normalization together out of simple operations, each of
    which passes over the images once.  On TensorFlow without XLA their
    gradients are added up in an order that the threads decide: the same seed
    then gives different last bits.  The fused kernel is faster and gives the
    same bits.  Numbers, weights and arguments are those of Keras's layer, which
    it is on JAX, with renormalization, in training with a mask, for inputs that
    are not images with the channels last, and where the weights are not
    float32.  Built under a `tf.distribute` strategy of several replicas it is
    Keras's synchronized layer: its statistics are those of the whole batch.
    """

    if BACKEND != "jax":

        def build(self, input_shape):
            self.synchronized = synchronized()
            super().build(input_shape)

        def call(self, inputs, training=None, mask=None):
            if not (
                training and self.trainable and self._fusible and mask is None
            ):
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance = normalize(self, inputs)
            move_statistics(self, mean, variance)
            return outputs
