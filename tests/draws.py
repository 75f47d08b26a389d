"""Random layers in compiled steps, and the law of what they draw."""

import keras
import numpy as np


def compiled(layer):
    """The layer in a jitted step, as an accelerator would run it."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda x: layer(x, training=True), jit_compile=True)
    if backend == "jax":
        import jax

        layer.build(None)
        state = [v.value for v in layer.non_trainable_variables]

        @jax.jit
        def step(state, x):
            return layer.stateless_call([], state, x, training=True)

        def call(x):
            nonlocal state
            outputs, state = step(state, x)
            return outputs

        return call
    return lambda x: layer(x, training=True)


def steps_of(layer, images, count):
    call = compiled(layer)
    return [keras.ops.convert_to_numpy(call(images)) for _ in range(count)]


def assert_uniform(n, *numbers):
    """Chi-square of the joint law, at four standard deviations each way."""
    code, places = 0, n ** len(numbers)
    for number in numbers:
        code = code * n + number.ravel()
    expected = code.size / places
    counts = np.bincount(code, minlength=places)
    assert counts.size == places and expected > 5
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # Its cube root is close to normal (Wilson and Hilferty, 1931).
    spread = 2 / (9 * (places - 1))
    deviate = (chi_square / (places - 1)) ** (1 / 3) - (1 - spread)
    assert abs(deviate) < 4 * np.sqrt(spread)
