"""Dropout from few random bits, on TensorFlow."""

import keras

from keras_davidnet._distribution import this_replica

TENSORFLOW = keras.backend.backend() == "tensorflow"
if TENSORFLOW:
    import tensorflow as tf


@keras.saving.register_keras_serializable("keras_davidnet")
class IntegerDropout(keras.layers.Dropout):
    """Keras's layer; TensorFlow draws 16 bits per element instead of a float.

    Dropout's cost is random number generation, and half the bits halve it.
    Being integers, the draws are also the same with XLA as without, which
    those of floats are not.  The rate is rounded to a multiple of 2**-16, and
    the scale of what is left is that of the rounded rate, so that the mean
    stays exact.  On other backends, and where `noise_shape` is given, it is
    Keras's layer.
    """

    if TENSORFLOW:

        def call(self, inputs, training=False):
            if not training or self.rate == 0 or self.noise_shape is not None:
                return super().call(inputs, training=training)
            # The replicas of a strategy hold the same seed.
            replica, _ = this_replica()
            seed = tf.cast(self.seed_generator.next(), "int32")
            size = tf.size(inputs)
            bits = tf.random.stateless_uniform(
                [(size + 1) // 2],
                seed=seed + tf.stack([replica, 0]),
                # All 32 bits, which TensorFlow's types forget.
                minval=None,  # pyright: ignore[reportArgumentType]
                maxval=None,
                dtype="int32",
            )
            bits = tf.reshape(tf.bitcast(bits, "int16"), [-1])[:size]
            dropped = min(round(self.rate * 2**16), 2**16 - 1)
            kept = tf.reshape(bits, tf.shape(inputs)) >= dropped - 2**15
            scale = 2**16 / (2**16 - dropped)
            return tf.where(kept, inputs * scale, tf.zeros([], inputs.dtype))
