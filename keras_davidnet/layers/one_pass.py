"""Activations in few passes over memory, where TensorFlow makes many."""

import functools

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def wide(x):
        return tf.cast(x, x.dtype if x.dtype.size > 2 else "float32")

    def widened(function):
        """In float32 at least: in 16 bits most operations are slower."""

        @functools.wraps(function)
        def call(x, *arguments):
            return tf.cast(function(wide(x), *arguments), x.dtype)

        return call

    @widened
    def inferred_gelu(x):
        """As PyTorch has it; ONNX lacks the `erfc` of TensorFlow's."""
        return 0.5 * x * (1 + tf.math.erf(0.5**0.5 * x))

    @functools.cache
    def one_pass(function, *arguments):
        """`function(x, *arguments)` of each element, for training.

        XLA compiles the values and the gradient, which it computes in float32
        at least.  A step that XLA compiles as a whole is the same with it.  Not
        for inference: what XLA compiles, other runtimes cannot take.
        """

        @tf.function(jit_compile=True, autograph=False)
        def values(x):
            return widened(function)(x, *arguments)

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

    inferred_gelu = keras.activations.gelu


def activate(activation, inputs, training: bool):
    """The activation of the inputs, for a layer that may be training.

    Others of Keras's activations are one operation of TensorFlow already, or
    are not in use in this package.
    """
    gelu, silu = keras.activations.gelu, keras.activations.silu
    if training and activation in (gelu, silu):
        activation = one_pass(activation)
    elif activation is gelu:
        activation = inferred_gelu
    return activation(inputs)


@keras.saving.register_keras_serializable("keras_davidnet")
class FastActivation(keras.layers.Activation):
    """Keras's layer, of few passes."""

    def call(self, inputs, training=False):
        return activate(self.activation, inputs, training)
