"""Activations in one pass over memory, where TensorFlow makes many."""

import functools

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    @functools.cache
    def one_pass(function, *arguments):
        """`function(x, *arguments)` of each element, for training.

        XLA compiles the values and the gradient, which it computes in float32
        at least.  A step that XLA compiles as a whole is the same with it.
        """

        def wide(x):
            return tf.cast(x, x.dtype if x.dtype.size > 2 else "float32")

        @tf.function(jit_compile=True, autograph=False)
        def values(x):
            return tf.cast(function(wide(x), *arguments), x.dtype)

        @tf.function(jit_compile=True, autograph=False)
        def gradients(x, upstream):
            inputs = wide(x)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = function(inputs, *arguments)
            gradient = tape.gradient(outputs, inputs, wide(upstream))
            return tf.cast(gradient, x.dtype)

        @tf.custom_gradient
        def call(x):
            return values(x), lambda upstream: gradients(x, upstream)

        return call

else:

    def one_pass(function, *arguments):
        """`function(x, *arguments)`, which these backends compute as it is."""
        return lambda x: function(x, *arguments)


def activate(activation, inputs, training: bool):
    """The activation of the inputs, for a layer that may be training.

    Others of Keras's activations are one operation of TensorFlow already, or
    are not in use in this package.
    """
    if training and activation in (
        keras.activations.gelu,
        keras.activations.silu,
    ):
        activation = one_pass(activation)
    return activation(inputs)


@keras.saving.register_keras_serializable("keras_davidnet")
class FastActivation(keras.layers.Activation):
    """Keras's layer, which trains in one pass."""

    def call(self, inputs, training=False):
        return activate(self.activation, inputs, training)
