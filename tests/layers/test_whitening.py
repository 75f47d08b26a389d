"""The whitening convolution against NumPy's in float64."""

import re

import keras
import numpy as np
import pytest
from plain import numpy_airbench

from keras_davidnet import Airbench, WhiteningConv2D
from keras_davidnet.datasets import make_dataset

EPSILON = 5e-4
SIZES = pytest.mark.parametrize("size, channels", [(2, 3), (3, 1), (2, 2)])


def smooth_images(rng, n=200, height=9, width=11, channels=3):
    """Neighbouring pixels and channels are alike, as in photographs."""
    noise = rng.normal(size=(n, height + 2, width + 2, channels))
    for axis in (1, 2):
        noise = np.cumsum(noise, axis) / 4
    mixed = noise @ rng.normal(size=(channels, channels)) + 0.3
    return mixed[:, 2:, 2:].astype("float32")


def filters_of(kernel):
    """One filter a row, in the order channel, row, column."""
    kernel = keras.ops.convert_to_numpy(kernel)
    return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)


def adapted(images, size, **arguments):
    layer = WhiteningConv2D(size, **arguments)
    layer.adapt(images)
    return layer


@SIZES
def test_filters_equal_numpys(rng, size, channels):
    images = smooth_images(rng, channels=channels)
    layer = adapted(images, size)
    count = 2 * channels * size**2
    assert tuple(layer.kernel.shape) == (size, size, channels, count)
    expected = numpy_airbench.whitening_kernel(images, size)
    expected = expected.reshape(count, -1)
    found = filters_of(layer.kernel)
    # Their order, and which is the negative of which, mean nothing.
    distance = np.abs(found[:, None] - expected).max(-1)
    np.testing.assert_array_equal(np.sort(distance.argmin(1)), np.arange(count))
    assert distance.min(1).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("epsilon", [EPSILON, 0.1])
@SIZES
def test_outputs_are_white(rng, size, channels, epsilon):
    images = smooth_images(rng, channels=channels)
    layer = adapted(images, size, epsilon=epsilon)
    outputs = keras.ops.convert_to_numpy(layer(images)).astype("float64")
    count = outputs.shape[-1] // 2
    assert outputs.shape[1:3] == (10 - size, 12 - size)
    rows = outputs.reshape(-1, 2 * count)
    filters = filters_of(layer.kernel)
    np.testing.assert_array_equal(filters[count:], -filters[:count])
    np.testing.assert_allclose(rows[:, count:], -rows[:, :count], atol=1e-5)
    moment = rows[:, :count].T @ rows[:, :count] / len(rows)
    # Epsilon acts as white noise of that variance in the images.
    filters = filters[:count]
    np.testing.assert_allclose(
        moment + epsilon * filters @ filters.T, np.eye(count), atol=1e-3
    )


def test_grey_images_of_three_channels_give_no_rounding_errors(rng):
    grey = np.repeat(smooth_images(rng, channels=1), 3, axis=-1)
    layer = adapted(grey, 2)
    outputs = keras.ops.convert_to_numpy(layer(grey)).astype("float64")
    np.testing.assert_allclose((outputs**2).mean((0, 1, 2)), 1, atol=0.1)


def test_outputs_equal_torchs(rng):
    torch = pytest.importorskip("torch")
    images = smooth_images(rng)
    layer = adapted(images, 2, bias_initializer=keras.initializers.Ones())
    expected = torch.nn.functional.conv2d(
        torch.tensor(images.transpose(0, 3, 1, 2)),
        torch.tensor(keras.ops.convert_to_numpy(layer.kernel)).permute(
            3, 2, 0, 1
        ),
        torch.ones(24),
    ).permute(0, 2, 3, 1)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer(images)), expected, atol=1e-4
    )


def test_many_images_are_adapted_to_as_one_set(rng):
    # More than any batch that the layer may work in, and no multiple of one.
    images = smooth_images(rng, n=5003, height=4, width=5)
    images[:2500] *= 10
    rows = numpy_airbench.patches(images, 2)
    filters = filters_of(adapted(images, 2).kernel)[:12]
    noisy = rows.T @ rows / len(rows) + EPSILON * np.eye(12)
    np.testing.assert_allclose(
        filters @ noisy @ filters.T, np.eye(12), atol=1e-3
    )


def test_adapting_anew_forgets_the_first_images(rng):
    images = smooth_images(rng)
    layer = adapted(3 * images[::-1, ::-1] + 1, 2)
    layer.adapt(images)
    np.testing.assert_array_equal(layer.kernel, adapted(images, 2).kernel)


def test_only_the_bias_is_trained(rng):
    images = smooth_images(rng)
    layer = WhiteningConv2D()
    model = keras.Sequential([keras.Input(images.shape[1:]), layer])
    assert not layer.adapted
    layer.adapt(images)
    assert layer.adapted
    (bias,) = layer.trainable_variables
    assert bias is layer.bias
    kernel, before = layer.kernel.numpy(), bias.numpy()
    np.testing.assert_array_equal(before, np.zeros(24))
    model.compile("sgd", "mse")
    model.fit(images, np.ones((200, 8, 10, 24)), verbose=0)
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)
    assert (np.abs(bias.numpy() - before) > 1e-4).all()


def test_saved_and_loaded_it_is_still_adapted(rng, tmp_path):
    images = smooth_images(rng)
    model = keras.Sequential([keras.Input((None, None, 3)), WhiteningConv2D()])
    model.layers[0].adapt(images)
    model.save(tmp_path / "net.keras")
    model.save_weights(tmp_path / "net.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    fresh = keras.models.clone_model(model)
    assert not fresh.layers[0].adapted
    fresh.load_weights(tmp_path / "net.weights.h5")
    for other in (loaded, fresh):
        assert other.layers[0].adapted
        np.testing.assert_array_equal(
            other.predict(images, verbose=0), model.predict(images, verbose=0)
        )


def test_a_net_around_one_never_adapted_is_not_trained(rng):
    images = smooth_images(rng)
    inputs = keras.Input(images.shape[1:])
    model = keras.Model(inputs, WhiteningConv2D()(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="adapt.*adapted=False"):
        model.fit(images, np.ones((200, 8, 10, 24)), verbose=0)


def with_nan(images):
    images = images.copy()
    images[-1, -1, -1, -1] = np.nan
    return images


BAD_IMAGES = {
    "too few": lambda x: x[:1, :4, :4],
    "too small": lambda x: x[:, :1],
    "constant": lambda x: np.full_like(x, 0.7),
    "black": np.zeros_like,
    "other channels": lambda x: x[..., :2],
    "NaN": with_nan,
    "infinite": lambda x: with_nan(x) * 0 + np.inf,
    "one image": lambda x: x[0],
    "five axes": lambda x: x[None],
    "none": lambda x: x[:0],
    "strings": lambda x: x.astype(str),
}


def test_other_channels_than_it_was_adapted_to(rng):
    layer = WhiteningConv2D()
    layer.adapt(rng.normal(size=(8, 9, 9, 1)))
    with pytest.raises(ValueError, match="expected axis -1 .* value 1"):
        layer(rng.normal(size=(2, 9, 9, 3)))


@pytest.mark.parametrize("change", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_images_that_cannot_be_adapted_to(rng, change):
    layer = WhiteningConv2D()
    layer.build((None, 9, 11, 3))
    images = smooth_images(rng)
    before = layer.kernel.numpy()
    with pytest.raises(
        ValueError, match=re.compile("`?images`?.*Received: images=", re.DOTALL)
    ):
        layer.adapt(change(images))
    assert not layer.adapted
    np.testing.assert_array_equal(layer.kernel.numpy(), before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 0},
        {"kernel_size": 1.5},
        {"epsilon": -1e-4},
        {"epsilon": float("nan")},
    ],
)
def test_bad_arguments(arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}={value}"):
        WhiteningConv2D(**arguments)


def test_a_whitening_saved_without_the_new_arguments_loads():
    config = WhiteningConv2D(name="whiten").get_config()
    old = {
        k: v
        for k, v in config.items()
        if k not in ("padding", "negatives", "use_bias")
    }
    assert WhiteningConv2D.from_config(old).get_config() == config
    with pytest.raises(ValueError, match="Received: padding='reflect'"):
        WhiteningConv2D(padding="reflect")


@pytest.mark.parametrize("labels", [False, True])
def test_adapts_to_batches(rng, labels):
    images = rng.normal(size=(6, 8, 8, 3)).astype("float32")
    one, other = WhiteningConv2D(), WhiteningConv2D()
    one.adapt(images)
    parts = np.split(images, [4])
    other.adapt((x, np.zeros(len(x))) if labels else x for x in parts)
    np.testing.assert_array_equal(*(x.kernel.numpy() for x in (one, other)))


def test_adapts_to_what_a_function_makes(rng):
    gray = rng.integers(0, 256, (32, 9, 9, 1), "uint8")
    colors = gray.repeat(3, axis=-1)
    net, other = Airbench(widths=(1, 1, 1)), Airbench(widths=(1, 1, 1))
    dataset = make_dataset(gray, np.zeros(32), 16)
    net.adapt(dataset.map(lambda x, y: (x.repeat(3, axis=-1), y)))
    other.adapt(colors)
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(n.whiten.kernel) for n in (net, other))
    )
