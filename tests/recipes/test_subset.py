"""A recipe's run on a subset of the images."""

import keras
import numpy as np
import pytest

from keras_davidnet import Resume, recipes

N, SIZE, SEED, EPOCHS = 44, 16, 3, 2


@pytest.fixture(scope="module")
def recipe():
    return recipes.get("airbench94_muon").replace(
        widths=(2, 2, 2),
        num_classes=3,
        input_shape=(9, 9, 3),
        views=None,
        batch_size=SIZE,
        epochs=EPOCHS,
    )


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 9, 9, 3), "uint8")
    return images, np.arange(N) % 3, np.arange(N) % 4 != 1


def by_hand(recipe, x, y, subset):
    """The run step by step, its batches from NumPy."""
    keras.utils.set_random_seed(SEED)
    model = recipe.model()
    model.adapt(x[subset])
    steps = subset.sum() // SIZE
    model.compile(recipe.optimizer(steps))
    drawn = np.random.default_rng((SEED, 0x666C6970)).integers(0, 2, N)
    for epoch in range(EPOCHS):
        order = np.random.default_rng((SEED, epoch)).permutation(N)
        order = order[subset[order]][: steps * SIZE]
        for rows in np.split(order, steps):
            batch = [
                x[i, :, ::-1] if (drawn[i] + epoch) % 2 else x[i] for i in rows
            ]
            model.train_on_batch(np.stack(batch), y[rows])
    return model


@pytest.mark.slow
def test_fit_is_the_run_by_hand(recipe, data):
    x, y, subset = data
    model = recipe.fit(x, y, seed=SEED, subset=subset, verbose=0)
    expected = by_hand(recipe, x, y, subset)
    assert int(model.optimizer.default.iterations) == 2 * EPOCHS
    for one, other in zip(model.weights, expected.weights, strict=True):
        one, other = map(keras.ops.convert_to_numpy, (one, other))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "subset, message",
    [
        (np.ones(N - 1, bool), r"booleans of shape \(44,\)"),
        (np.arange(N) < SIZE - 1, "15 images, batch_size=16"),
        (np.arange(N) % 3 != 1, r"without the labels \[1\]"),
    ],
)
def test_bad_subset(recipe, data, subset, message):
    x, y, _ = data
    with pytest.raises(ValueError, match=message):
        recipe.fit(x, y, subset=subset)


def test_resume_refuses_another_subset(recipe, data, tmp_path):
    x, y, subset = data
    path = tmp_path / "state.npz"

    def fit(subset):
        recipe.fit(x, y, subset=subset, callbacks=[Resume(path)], verbose=0)

    fit(subset)
    with pytest.raises(ValueError, match="this run.*data: "):
        fit(np.roll(subset, 1))
