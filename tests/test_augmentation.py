import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_davidnet import RandomCutout, RandomHorizontalFlip, RandomPadCrop

LAYERS = [RandomPadCrop, RandomHorizontalFlip, RandomCutout]


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


def numbered(count, height, width, channels=1):
    """Images in which no pixel of any image equals another."""
    size = count * height * width * channels
    return np.arange(1, size + 1, dtype="float32").reshape(
        count, height, width, channels
    )


def crops(image, padding):
    """All crops of the reflect-padded image, by NumPy, by their offset."""
    border = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(image, border, mode="reflect")
    height, width = image.shape[:2]
    n = 2 * padding + 1
    return {
        (i, j): padded[i : i + height, j : j + width]
        for i in range(n)
        for j in range(n)
    }


def offset_of(output, image, padding):
    # The first row and column give it away: no two pixels are equal.
    found = [
        offset
        for offset, crop in crops(image, padding).items()
        if np.array_equal(crop, output)
    ]
    assert len(found) == 1
    return found[0]


class KerasHarness(TestCase):
    def test_layers(self):
        for layer in LAYERS:
            self.run_layer_test(
                layer,
                {"seed": 1},
                input_shape=(2, 9, 12, 3),
                call_kwargs={"training": True},
                expected_output_shape=(2, 9, 12, 3),
                expected_num_trainable_weights=0,
                expected_num_seed_generators=1,
                # It has no weights to train.
                run_training_check=False,
            )


def test_crops_equal_numpys_of_the_reflected_image():
    images = numbered(200, 5, 7, 2)
    outputs = keras.ops.convert_to_numpy(
        compiled(RandomPadCrop(2, seed=0))(images)
    )
    offsets = [
        offset_of(out, image, 2)
        for out, image in zip(outputs, images, strict=True)
    ]
    # All 25 places come up among 200 draws, and images do not share one.
    assert len(set(offsets)) == 25


def test_cutout_is_one_whole_square_an_image():
    images = numbered(300, 6, 7, 2)
    outputs = keras.ops.convert_to_numpy(
        compiled(RandomCutout(3, seed=0))(images)
    )
    corners = set()
    for out, image in zip(outputs, images, strict=True):
        rows, columns = np.nonzero((out == 0).all(-1))
        top, left = rows.min(), columns.min()
        expected = image.copy()
        expected[top : top + 3, left : left + 3] = 0
        np.testing.assert_array_equal(out, expected)
        assert len(rows) == 9
        corners.add((top, left))
    assert corners == {(i, j) for i in range(4) for j in range(5)}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_step_draws_anew_and_seeds_repeat(layer):
    images = numbered(32, 16, 16)
    first, same, other = (layer(seed=seed) for seed in (1, 1, 2))
    steps = [
        [
            keras.ops.convert_to_numpy(call(images))
            for call in [compiled(one)] * 2
        ]
        for one in (first, same, other)
    ]
    np.testing.assert_array_equal(steps[0], steps[1])
    assert not np.array_equal(steps[0][0], steps[0][1])
    assert not np.array_equal(steps[0][0], steps[2][0])


@pytest.mark.parametrize("layer", LAYERS)
def test_images_pass_unchanged_unless_training(layer):
    images = numbered(4, 9, 9)
    for outputs in (layer()(images), layer()(images, training=False)):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(outputs), images
        )


@pytest.mark.parametrize("layer", LAYERS)
def test_uint8_stays_uint8(layer):
    images = np.full((2, 9, 9, 3), 200, "uint8")
    outputs = layer()(images, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "uint8"


@pytest.mark.parametrize("layer", LAYERS)
def test_xla_stays_on(layer):
    assert layer().supports_jit


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (RandomPadCrop(4), (2, 4, 9, 3), "larger than the padding of 4"),
        (RandomCutout(8), (2, 9, 7, 3), "at least 8 pixels"),
        (RandomPadCrop(4), (9, 9, 3), r"\(batch, height, width, channels\)"),
    ],
)
def test_bad_images(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(shape, "float32"), training=True)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: RandomPadCrop(0), "padding=0"),
        (lambda: RandomPadCrop(1.5), "padding=1.5"),
        (lambda: RandomCutout(-1), "size=-1"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
