import keras
import numpy as np
import pytest
from helpers import assert_uniform, compiled, steps_of
from keras.src.testing import TestCase

from keras_davidnet import (
    DavidNet,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
)

LAYERS = [RandomPadCrop, RandomHorizontalFlip, RandomCutout]


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


# What each layer drew, read off images that know their own coordinates: an
# array of shape (batch, numbers drawn per image).


def coordinates(batch):
    """Images whose pixels hold their row and column, from 1, and a one."""
    image = np.ones((32, 32, 3), "uint8")
    image[..., 0] = np.arange(1, 33)[:, None]
    image[..., 1] = np.arange(1, 33)
    return np.broadcast_to(image, (batch, 32, 32, 3))


def crops_drawn(outputs):
    # The pixel at (4, 4) came from somewhere in the upper left 9 x 9.
    return outputs[:, 4, 4, :2].astype(int) - 1


def flips_drawn(outputs):
    return outputs[:, 4, 4:5, 1] > outputs[:, 4, 5:6, 1]


def cutouts_drawn(outputs):
    cut = outputs[..., 0] == 0
    return np.stack([cut.any(2).argmax(1), cut.any(1).argmax(1)], axis=1)


@pytest.mark.parametrize(
    "layer, drawn, n",
    [
        (RandomPadCrop, crops_drawn, 9),
        (RandomHorizontalFlip, flips_drawn, 2),
        (RandomCutout, cutouts_drawn, 25),
    ],
)
def test_draws_are_uniform_and_independent(layer, drawn, n):
    steps = steps_of(layer(), coordinates(2048), 24)
    numbers = np.stack([drawn(outputs) for outputs in steps])
    # All 81 crops, both flips, all 625 cutouts.
    assert_uniform(n, *np.moveaxis(numbers, -1, 0))
    for i in range(numbers.shape[-1]):
        for j in range(numbers.shape[-1]):
            # From image to image, and from step to step.
            assert_uniform(n, numbers[:, :-1, i], numbers[:, 1:, j])
            assert_uniform(n, numbers[:-1, :, i], numbers[1:, :, j])


@pytest.mark.slow
def test_the_nets_crops_and_flips_are_independent():
    outputs = np.concatenate(
        steps_of(DavidNet(width=1).augmentation, coordinates(2048), 8)
    )
    flips = flips_drawn(outputs)
    outputs[flips[:, 0]] = outputs[flips[:, 0], :, ::-1]
    rows, columns = crops_drawn(outputs).T
    for flip in (False, True):
        assert_uniform(
            9, rows[flips[:, 0] == flip], columns[flips[:, 0] == flip]
        )
    assert_uniform(2, flips)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.slow
def test_a_padded_batch_draws_alike(layer):
    # A seed gives an image the same draw whatever follows it in its batch.
    part, whole = (
        steps_of(layer(seed=1), coordinates(batch), 3) for batch in (37, 64)
    )
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one, other[:37])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_bfloat16"])
def test_any_precision_draws_alike(layer, dtype):
    images = coordinates(64).astype("float32")
    single, other = (
        [
            keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))
            for outputs in (one(images, training=True) for _ in range(3))
        ]
        for one in (layer(seed=1), layer(seed=1, dtype=dtype))
    )
    np.testing.assert_array_equal(single, other)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="torch compiles nothing by XLA"
)
@pytest.mark.slow
def test_xla_draws_alike(layer):
    images = coordinates(64)
    eager = layer(seed=1)
    np.testing.assert_array_equal(
        [
            keras.ops.convert_to_numpy(eager(images, training=True))
            for _ in range(3)
        ],
        steps_of(layer(seed=1), images, 3),
    )


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


@pytest.mark.extra
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_in_a_pipeline_of_tensorflows(dtype):
    tf = pytest.importorskip("tensorflow", reason="tf.data pipelines")
    # The most that uint8 can number.
    images = numbered(28, 3, 3).astype(dtype)
    flip = RandomHorizontalFlip(seed=0)
    crop = RandomPadCrop(1, seed=0)
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(14)

    def mapped(layer, **kwargs):
        pipeline = dataset.map(lambda batch: layer(batch, **kwargs))
        assert pipeline.element_spec == dataset.element_spec
        return np.concatenate([batch.numpy() for batch in pipeline])

    np.testing.assert_array_equal(mapped(flip), images)
    mirrored = [
        np.array_equal(out, image[:, ::-1])
        for out, image in zip(mapped(flip, training=True), images, strict=True)
    ]
    # Each batch has new draws.
    assert mirrored[:14] != mirrored[14:]
    assert 4 < sum(mirrored) < 24
    offsets = {
        offset_of(out, image, 1)
        for out, image in zip(mapped(crop, training=True), images, strict=True)
    }
    assert len(offsets) > 4
