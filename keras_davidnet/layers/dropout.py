"""Dropout from few random bits."""

import keras
from keras import ops

from keras_davidnet._distribution import this_replica

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow":
    import tensorflow as tf

    def random_int16(inputs, seed):
        """As many as there are inputs, uniform over all integers of 16 bits."""
        # The replicas of a strategy hold the same seed.
        replica, _ = this_replica()
        size = tf.size(inputs)
        bits = tf.random.stateless_uniform(
            [(size + 1) // 2],
            seed=tf.cast(seed, "int32") + tf.stack([replica, 0]),
            # All 32 bits, which TensorFlow's types forget.
            minval=None,  # pyright: ignore[reportArgumentType]
            maxval=None,
            dtype="int32",
        )
        return tf.reshape(tf.bitcast(bits, "int16"), [-1])[:size]

elif BACKEND == "torch":
    import torch

    def random_int16(inputs, seed):
        """As many as there are inputs, uniform over all integers of 16 bits."""
        size = inputs.numel()
        bits = torch.empty(
            (size + 3) // 4, dtype=torch.int64, device=inputs.device
        )
        if not bits.is_meta:
            first, second = seed.tolist()
            generator = torch.Generator(inputs.device)
            generator.manual_seed((first << 32) + second)
            bits.random_(-(2**63), None, generator=generator)
        return bits.view(torch.int16)[:size]

else:
    import jax

    def random_int16(inputs, seed):
        """As many as there are inputs, uniform over all integers of 16 bits."""
        # Not 16 at once: JAX moves those into their place in four passes.
        bits = jax.random.bits(seed, ((inputs.size + 1) // 2,), "uint32")
        bits = jax.lax.bitcast_convert_type(bits, "int16")
        return bits.reshape(-1)[: inputs.size]


@keras.saving.register_keras_serializable("keras_davidnet")
class IntegerDropout(keras.layers.Dropout):
    """Keras's layer, but draws 16 bits per element instead of a float.

    Dropout's cost is random number generation, and half the bits halve it.
    Being integers, the draws are also the same with XLA as without, which
    those of floats are not.  The rate is rounded to a multiple of 2**-16, and
    the scale of what is left is that of the rounded rate, so that the mean
    stays exact.  Where `noise_shape` is given, it is Keras's layer.
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0 or self.noise_shape is not None:
            return super().call(inputs, training=training)
        bits = random_int16(inputs, self.seed_generator.next())
        dropped = min(round(self.rate * 2**16), 2**16 - 1)
        kept = ops.reshape(bits, ops.shape(inputs)) >= dropped - 2**15
        scale = 2**16 / (2**16 - dropped)
        return ops.where(kept, inputs * scale, ops.zeros((), inputs.dtype))
