"""What several modules of the tests share."""

import contextlib
import json
import re
import socket
from unittest import mock

import keras
import numpy as np
import pytest
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


def refused(call, message, error=ValueError):
    """The message of the error that the call must raise."""
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as info:
        call()
    assert re.search("Received: .", str(info.value))
    return str(info.value)


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


def numbers_in(net):
    """The Keras net's arrays by the part of their path within it."""
    return {
        w.path.split("/", 1)[1]: keras.ops.convert_to_numpy(w).copy()
        for w in net.weights
    }


def numbers_of(theirs):
    """The arrays of a PyTorch net by Keras's names, and as Keras has them.

    Its normalizations have names that begin with `bn`.
    """
    found = {}
    for name, tensor in theirs.state_dict().items():
        *layers, leaf = name.split(".")
        if leaf == "num_batches_tracked":
            continue
        if layers[-1].startswith("bn"):
            leaf = {"weight": "gamma", "bias": "beta"}.get(leaf, leaf)
        leaf = {
            "weight": "kernel",
            "running_mean": "moving_mean",
            "running_var": "moving_variance",
        }.get(leaf, leaf)
        # A copy: TensorFlow may work on the array that it is given.
        array = tensor.numpy().copy()
        found["/".join([*layers, leaf])] = (
            filters_last(array) if array.ndim > 1 else array
        )
    return found


def give(net, numbers):
    """The Keras net gets these numbers, which are all that it has."""
    assert numbers_in(net).keys() == numbers.keys()
    for w in net.weights:
        w.assign(numbers[w.path.split("/", 1)[1]])


def assert_equal(actual, expected, tolerance):
    """Each array to within a fraction of its largest value."""
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(
            actual[name],
            array,
            rtol=0,
            atol=tolerance * np.abs(array).max(),
            err_msg=name,
        )


def pixels(rng, n, height=17, width=19):
    """Images whose neighbouring pixels are alike."""
    small = rng.integers(0, 256, (n, height // 4 + 2, width // 4 + 2, 3))
    large = small.repeat(4, 1).repeat(4, 2)[:, 1 : height + 1, 1 : width + 1]
    noise = rng.integers(-20, 21, large.shape)
    return np.clip(large + noise, 0, 255).astype("uint8")


def normalized(images):
    """Of mean 0.5 and deviation 64 / 255, exact in float32."""
    return (np.asarray(images, "float64") - 127.5) / 64


def for_torch(images):
    """Normalized, as a tensor with the channels first."""
    import torch

    x = torch.tensor(normalized(images).transpose(0, 3, 1, 2))
    return x.to(getattr(torch, keras.config.floatx()))


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
