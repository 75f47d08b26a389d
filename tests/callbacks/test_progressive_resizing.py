import keras
import numpy as np
import pytest

from keras_davidnet import DavidNet, ProgressiveResizing, _backend

# Off where that can be: it is slow to compile.
XLA = keras.backend.backend() == "jax"


def scaled(images, size, axis):
    """By linear interpolation with antialiasing: a triangle per pixel."""
    ratio = images.shape[axis] / size
    centers = (np.arange(size) + 0.5) * ratio
    pixels = np.arange(images.shape[axis]) + 0.5
    weights = 1 - np.abs(centers[:, None] - pixels) / max(ratio, 1)
    weights = weights.clip(min=0)
    weights /= weights.sum(1, keepdims=True)
    images = np.moveaxis(np.tensordot(weights, images, (1, axis)), 0, axis)
    return images.astype("float32")


def scaled_square(images, size):
    return scaled(scaled(images, size, 1), size, 2)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("size", [(9, 9), (9, 20), (24, 30), (16, 20)])
def test_resize_matches_numpy(rng, size, xla):
    images = rng.normal(size=(2, 16, 20, 3)).astype("float32")
    expected = images
    for axis in (1, 2):
        expected = scaled(expected, size[axis - 1], axis)
    resized = _backend.resize(keras.ops.convert_to_tensor(images), size, xla)
    np.testing.assert_allclose(resized, expected, atol=1e-5)
    half = _backend.resize(
        keras.ops.convert_to_tensor(images, "float16"), size, xla
    )
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    np.testing.assert_allclose(half, expected, atol=1e-2)


def test_resize_under_xla():
    """TensorFlow has no kernel of `ops.image.resize` there."""
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), "uint8")
    model = DavidNet(width=1, augmentation=None, dropout=0)
    model.compile(jit_compile=keras.backend.backend() != "torch")
    sizes = ProgressiveResizing({0: 9})
    model.fit(images, np.arange(4), callbacks=[sizes], verbose=0)


def test_images_that_are_not_square(rng):
    shapes = []

    class Net(DavidNet):
        def _forward(self, x, training):
            if training:
                shapes.append(tuple(x.shape[1:3]))
            return super()._forward(x, training)

    images = rng.integers(0, 256, (4, 16, 24, 3), "uint8")
    net = Net(width=1, input_shape=(16, 24, 3), augmentation=None)
    net.compile(jit_compile=XLA)
    fit = {"epochs": 2, "verbose": 0}
    sizes = ProgressiveResizing({0: (8, 12), 1: (16, 24)})
    net.fit(images, np.arange(4), callbacks=[sizes], **fit)
    assert set(shapes) == {(8, 12), (16, 24)}
    with pytest.raises(ValueError, match=r"\(height, width\).*size=9"):
        sizes = ProgressiveResizing({0: 9})
        net.fit(images, np.arange(4), callbacks=[sizes], **fit)
    assert net.training_size is None


def make():
    keras.utils.set_random_seed(0)
    model = DavidNet(
        width=2, input_shape=(None, None, 3), augmentation=None, dropout=0
    )
    # Of small steps: rounding would grow.
    model.compile(keras.optimizers.SGD(1e-3), jit_compile=XLA)
    return model


@pytest.fixture
def data(rng):
    images = rng.integers(0, 256, (8, 16, 16, 3), "uint8")
    return images, rng.integers(0, 10, 8)


def test_trains_as_on_images_scaled_before(data):
    x, y = data
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}
    one = make()
    sizes = ProgressiveResizing({1: 9, 3: 16})
    logs = one.fit(
        x, y, epochs=4, callbacks=[sizes], validation_data=(x, y), **options
    ).history
    other, losses, val_losses = make(), [], []
    for images in (x, scaled_square(x, 9), scaled_square(x, 9), x):
        history = other.fit(images, y, validation_data=(x, y), **options)
        losses += history.history["loss"]
        val_losses += history.history["val_loss"]
    np.testing.assert_allclose(logs["loss"], losses, rtol=1e-4)
    np.testing.assert_allclose(logs["val_loss"], val_losses, rtol=1e-4)
    # Or the sizes would show nothing.
    assert abs(losses[0] - losses[1]) > 1e-2
    for weight, expected in zip(
        one.get_weights(), other.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_sizes_begin_within_an_epoch(data):
    """As in `fit`s of the parts of the epochs, step by step."""
    x, y = data
    options = {"batch_size": 2, "shuffle": False, "verbose": 0}
    one, other = make(), make()
    # At steps 1, 3 and 6 of 4 an epoch.
    sizes = ProgressiveResizing({1.5: 16, 0.25: 9, 0.7: 12})
    one.fit(x, y, epochs=2, callbacks=[sizes], **options)
    for step, size in enumerate((16, 9, 9, 12, 12, 12, 16, 16)):
        rows = slice(2 * step % 8, 2 * step % 8 + 2)
        images = x[rows] if size == 16 else scaled_square(x[rows], size)
        other.fit(images, y[rows], **options)
    for weight, expected in zip(
        one.get_weights(), other.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-4)


def test_a_size_within_an_epoch_of_unknown_length(data):
    def batches():
        yield data

    sizes = ProgressiveResizing({0.5: 9})
    with pytest.raises(ValueError, match="steps_per_epoch.*Received"):
        make().fit(batches(), shuffle=False, callbacks=[sizes], verbose=0)


@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras takes one step at once there",
)
def test_a_size_within_steps_that_run_at_once(data):
    model = make()
    model.compile(steps_per_execution=2, jit_compile=XLA)
    with pytest.raises(ValueError, match="step 1, .*steps_per_execution=2"):
        sizes = ProgressiveResizing({0.25: 9})
        model.fit(*data, batch_size=2, callbacks=[sizes], verbose=0)


@pytest.mark.slow
def test_the_next_fit_sees_images_as_they_are(data):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = make()
    for callbacks in ([], [Stop()]):
        try:
            model.fit(
                *data,
                callbacks=[ProgressiveResizing({0: 9}), *callbacks],
                verbose=0,
            )
        except KeyboardInterrupt:
            pass
        assert model.training_size is None


@pytest.mark.parametrize("sizes", [{-1: 9}, {0: 0}, {0: 9.5}, {"a": 9}])
def test_bad_values(sizes):
    with pytest.raises(ValueError, match="Received"):
        ProgressiveResizing(sizes)


def test_bad_types():
    with pytest.raises(TypeError, match=r"Received: sizes=\(24, 32\)"):
        ProgressiveResizing((24, 32))
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(TypeError, match="Received: a Sequential"):
        model.fit(
            np.ones((2, 1)),
            np.ones((2, 1)),
            callbacks=[ProgressiveResizing({0: 9})],
        )


def test_a_size_that_is_too_small(data):
    with pytest.raises(ValueError, match="at least 8.*Received: size=4"):
        make().fit(*data, callbacks=[ProgressiveResizing({0: 9, 2: 4})])
