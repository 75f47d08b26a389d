"""Recipes for images other than CIFAR-10."""

import math

import numpy as np
import pytest

from keras_davidnet import recipes
from keras_davidnet.optimizers.leaves import leaf_optimizers, schedule_of


def data(n, classes=5, shape=(12, 12, 3)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *shape), "uint8"), np.arange(n) % classes


def large(n):
    """Many images that are one in memory."""
    image = np.arange(9 * 9 * 3, dtype="uint8").reshape(9, 9, 3)
    return np.broadcast_to(image, (n, 9, 9, 3)), np.arange(n) % 10


@pytest.mark.parametrize("shape", [(12, 12, 3), (20, 24, 1), (11, 9, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_the_images_tell(shape, dtype):
    x, y = data(250, 7, shape)
    x = (x // 2).astype(dtype)
    recipe = recipes.get("airbench94_muon").for_data(x, y[:, None])
    net = recipe.replace(widths=(1, 1, 1)).model()
    assert net.num_classes == 7
    assert net.image_shape == shape
    scaled = x.astype("float64") / 255
    np.testing.assert_allclose(net.mean, scaled.mean((0, 1, 2)))
    np.testing.assert_allclose(net.std, scaled.std((0, 1, 2)))


@pytest.mark.parametrize("name", recipes.names())
def test_on_as_many_images_as_cifar10_it_is_the_recipe_itself(name):
    recipe = recipes.get(name)
    fitted = recipe.for_data(*large(50_000))
    assert fitted.batch_size == recipe.batch_size
    assert fitted.epochs == recipe.epochs


@pytest.mark.parametrize("n", [64, 400, 5000, 20_000])
@pytest.mark.parametrize("name", recipes.names())
def test_smaller_sets_have_as_many_steps(name, n):
    recipe = recipes.get(name)
    fitted = recipe.for_data(*large(n))
    steps = recipe.epochs * (50_000 // recipe.batch_size)
    fitted_steps = fitted.epochs * (n // fitted.batch_size)
    assert steps <= math.ceil(fitted_steps) < 1.5 * steps
    assert 32 <= fitted.batch_size <= n / 2
    # The groups of ghost batch normalization.
    assert fitted.batch_size % 16 == 0


@pytest.mark.parametrize("n", [64, 400, 5000])
@pytest.mark.parametrize("name", ["airbench94_muon", "cpu94", "airbench94"])
def test_the_whitening_is_trained_for_the_same_part(name, n):
    def steps(recipe, images):
        optimizer = recipe.optimizer(images // recipe.batch_size)
        rates = {
            leaf.name: schedule_of(leaf).knots[-1]
            for leaf in leaf_optimizers(optimizer)
        }
        return rates["whitening"], max(rates.values())

    part, whole = steps(recipes.get(name), 50_000)
    fitted_part, fitted_whole = steps(recipes.get(name).for_data(*large(n)), n)
    # To within the steps that each is rounded to.
    assert abs(fitted_part - fitted_whole * part / whole) <= 2


def test_larger_sets_have_as_many_epochs():
    recipe = recipes.get("airbench94").for_data(*large(200_000))
    assert (recipe.batch_size, recipe.epochs) == (1024, 9.9)


def test_image_sizes_are_in_proportion():
    x, y = data(64, shape=(32, 32, 3))
    sizes = recipes.get("cpu94").for_data(x, y).image_sizes
    assert sizes == {0: (28, 28), 2 / 3: (32, 32)}
    x, y = data(64, shape=(48, 64, 3))
    recipe = recipes.get("cpu94").for_data(x, y)
    assert recipe.image_sizes == {0: (42, 56), 2 / 3: (48, 64)}
    recipe.callbacks()  # They check the sizes.
    # The net needs nine pixels.
    x, y = data(64, shape=(9, 16, 3))
    sizes = recipes.get("cpu94").for_data(x, y).image_sizes
    assert sizes == {0: (9, 14), 2 / 3: (9, 16)}


@pytest.mark.parametrize("n", [40, 400, 5000, 60_000])
@pytest.mark.parametrize("batch_size", [100, 1000, 1536])
def test_a_second_time_it_changes_nothing(n, batch_size):
    x, y = large(n)
    recipe = recipes.get("cpu94").replace(batch_size=batch_size)
    recipe = recipe.for_data(x, y)
    assert recipe.for_data(x, y) == recipe


def test_images_of_16_bits_with_bright_spots(rng):
    x = rng.normal(300, 150, (64, 12, 12, 1)).clip(0).astype("uint16")
    x[:, 3, 3] = 20_000
    recipe = recipes.get("airbench94_muon").for_data(x, np.arange(64) % 2)
    recipe.replace(widths=(1, 1, 1)).model().check_arrays("x", x)


def test_batches_of_few_images_divide_into_groups():
    recipe = recipes.get("bag_of_tricks").for_data(*data(50))
    assert recipe.batch_size == 16


@pytest.mark.slow
def test_forty_images_are_learned(rng):
    # Bright left or right halves, in noise.
    x = rng.integers(0, 128, (40, 12, 12, 1), "uint8")
    y = np.arange(40) % 2
    x[y == 0, :, :6] += 127
    x[y == 1, :, 6:] += 127
    recipe = recipes.get("airbench94_muon").for_data(x, y)
    recipe = recipe.replace(
        widths=(4, 8, 8), alternating_flip=False, views=None
    )
    model = recipe.fit(x[:30], y[:30], verbose=0, seed=0)
    assert (model.predict(x[30:], verbose=0).argmax(1) == y[30:]).all()


@pytest.mark.slow
def test_a_blank_background(rng):
    # Channels of one value nearly everywhere; with the epsilon of the recipe,
    # 1e-12, this run stays at chance.
    x, y = np.zeros((600, 28, 28, 1), "uint8"), np.arange(600) % 3
    for image, label in zip(x, y, strict=True):
        top, left = rng.integers(0, 20, 2)
        width = (3, 5, 8)[label]
        image[top : top + 8, left : left + width] = rng.integers(128, 256)
    recipe = recipes.get("airbench94_muon").for_data(x, y)
    recipe = recipe.replace(
        widths=(16, 32, 32), alternating_flip=False, views=None, epochs=5
    )
    model = recipe.fit(x[:500], y[:500], verbose=0, seed=1)
    assert (model.predict(x[500:], verbose=0).argmax(1) == y[500:]).all()


X, Y = data(20)


@pytest.mark.parametrize(
    "x, y, message",
    [
        (X, np.zeros(20, int), "two classes.*Received.*y="),
        (X, Y + 20, "as many images as classes.*Received: 20 images.*24"),
        (X, Y - 1, "Labels must be integers.*Received"),
        (X, Y + 0.5, "Labels must be integers.*Received"),
        (X, Y[:-1], "as many labels as images.*Received"),
        (X, np.eye(5)[Y], "sparse labels.*Received"),
        (X, Y.astype(str), "`y` must hold integers.*Received"),
        (X[..., 0], Y, r"gray images.*x\[..., None\].*Received"),
        (X[:, :8], Y, "at least 9 pixels.*Received"),
        (X[:0], Y[:0], "must not be empty.*Received"),
        (X * np.nan, Y, "finite.*Received"),
        (X / 255, Y, r"raw images in 0\.\.255.*Received"),
        ((X / 255 - 0.5) / 0.25, Y, r"raw images in 0\.\.255.*Received"),
        (np.full_like(X, 7), Y, "must vary.*Received"),
        (X * np.uint8([1, 1, 0]), Y, r"must vary.*Received.*0\.0\]"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        recipes.get("airbench94_muon").for_data(x, y)


def test_lists_are_no_arrays():
    with pytest.raises(TypeError, match="`y` must be an array.*Received"):
        recipes.get("airbench94_muon").for_data(X, Y.tolist())
