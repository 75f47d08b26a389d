"""Batch normalization by TensorFlow's fused kernel, where there is one."""

import keras

TENSORFLOW = keras.backend.backend() == "tensorflow"
if TENSORFLOW:
    import tensorflow as tf


@keras.saving.register_keras_serializable("keras_davidnet")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer; for images TensorFlow trains it in one kernel.

    Keras puts batch normalization together out of simple operations.  On
    TensorFlow without XLA each of them passes over the images once, and their
    gradients are added up in an order that the threads decide: the same seed
    then gives different last bits.  The fused kernel is faster and gives the
    same bits.  Numbers, weights and arguments are those of Keras's layer, which
    it is on other backends, in inference, with a mask, for inputs that are not
    images with the channels last, and where the weights are not float32.
    Built under a `tf.distribute` strategy of several replicas it is Keras's
    synchronized layer: its statistics are those of the whole batch.
    """

    if TENSORFLOW:

        def build(self, input_shape):
            super().build(input_shape)
            strategy = tf.distribute.get_strategy()
            self.synchronized = strategy.num_replicas_in_sync > 1
            self._fusible = (
                len(input_shape) == 4
                and self.axis in (-1, 3)
                and self.variable_dtype == "float32"
                and not self.synchronized
            )

        def call(self, inputs, training=None, mask=None):
            if not (
                training and self.trainable and self._fusible and mask is None
            ):
                return super().call(inputs, training=training, mask=mask)
            channels = inputs.shape[-1]
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=self.gamma if self.scale else tf.ones(channels),
                offset=self.beta if self.center else tf.zeros(channels),
                mean=[],
                variance=[],
                epsilon=self.epsilon,
                is_training=True,
            )
            # The kernel's variance is the unbiased one; Keras keeps the biased.
            n = tf.cast(tf.size(inputs) // channels, variance.dtype)
            variance *= (n - 1) / n
            for moving, batch in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                moving.assign(
                    self.momentum * moving + (1 - self.momentum) * batch
                )
            return outputs
