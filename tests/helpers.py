"""What several modules of the tests share."""

import contextlib
import json
import socket
from unittest import mock

import keras
import numpy as np
from keras.src.backend.common import dtypes


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


@contextlib.contextmanager
def floats(dtype):
    """Keras at this precision, losses included."""
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "jax":
            import jax

            stack.enter_context(jax.enable_x64(dtype == "float64"))
        # On JAX and torch Keras takes two float64 for a float32.
        stack.enter_context(
            mock.patch.dict(dtypes.BIT64_TO_BIT32_DTYPE, float64="float64")
        )
        # Both before either is set: unset, the policy follows `floatx`.
        for set_, before in (
            (keras.config.set_floatx, keras.config.floatx()),
            (keras.config.set_dtype_policy, keras.config.dtype_policy()),
        ):
            stack.callback(set_, before)
            set_(dtype)
        yield


def filters_first(kernel):
    """`(out, in, *spatial)`, PyTorch's, from Keras's `(*spatial, in, out)`."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def filters_last(kernel):
    """`(*spatial, in, out)`, Keras's, from PyTorch's `(out, in, *spatial)`."""
    return np.moveaxis(kernel, (0, 1), (-1, -2))


def restored(model, arguments):
    """A net from the config of `model`, which was made with the arguments."""
    config = json.loads(json.dumps(model.get_config()))
    net = type(model).from_config(config)
    for name, value in arguments.items():
        # Keras's own attribute `input_shape` has the batch, too.
        given = getattr(net, "image_shape" if name == "input_shape" else name)
        assert given == value
    assert net.get_config() == model.get_config()
    return net


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_folder(path, images):
    """Writes `{class name: images}` as PNG files, a folder per class."""
    for name, of_class in images.items():
        (path / name).mkdir(parents=True)
        for index, image in enumerate(of_class):
            file = path / name / f"{index}.png"
            keras.utils.save_img(file, image, "channels_last", scale=False)
