"""Batch normalization by TensorFlow's fused kernel, where there is one."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable("keras_davidnet")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer for images; in training TensorFlow does it in one kernel.

    Keras puts batch normalization together out of simple operations.  On
    TensorFlow without XLA each of them passes over the images once, and their
    gradients are added up in an order that the threads decide: the same seed
    then gives other last bits.  The fused kernel is faster and gives the same
    bits.  Numbers, weights and arguments are those of Keras's layer, which it
    is on other backends, in inference and where the weights are not float32.
    Built under a `tf.distribute` strategy of several replicas it is Keras's
    too, of the synchronized kind: its statistics are those of the whole batch.
    """

    def build(self, input_shape):
        super().build(input_shape)
        if keras.backend.backend() == "tensorflow":
            strategy = tf.distribute.get_strategy()
            self.synchronized = strategy.num_replicas_in_sync > 1

    def call(self, inputs, training=None, mask=None):
        fused = (
            keras.backend.backend() == "tensorflow"
            and training
            and self.trainable
            and self.variable_dtype == "float32"
            and not self.synchronized
        )
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel's variance is the unbiased one; Keras keeps the biased.
        n = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        variance *= (n - 1) / n
        for moving, batch in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(self.momentum * moving + (1 - self.momentum) * batch)
        return outputs
