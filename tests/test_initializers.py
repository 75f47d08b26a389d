import keras
import numpy as np
import pytest

from keras_davidnet import PyTorchUniform
from keras_davidnet.initializers import fork


def draw(initializer, shape):
    return keras.ops.convert_to_numpy(initializer(shape))


@pytest.mark.parametrize(
    "shape, fan_in",
    [((3, 3, 32, 64), 288), ((1, 1, 3, 2000), 3), ((300, 7), 300)],
)
def test_uniform_within_pytorchs_bound(shape, fan_in):
    values = draw(PyTorchUniform(seed=1), shape)
    bound = 1 / np.sqrt(fan_in)
    assert np.abs(values).max() <= bound
    # Of n uniform draws the extremes come within about 1/n of the bound.
    assert np.abs(values).max() > bound * (1 - 20 / values.size)
    np.testing.assert_allclose(values.var(), bound**2 / 3, rtol=0.1)
    np.testing.assert_allclose(values.mean(), 0, atol=bound * 0.1)


def test_equal_seeds_draw_alike_and_others_do_not():
    shape = (3, 3, 4, 4)
    one, same, other = (draw(PyTorchUniform(s), shape) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(
        draw(PyTorchUniform(), shape), draw(PyTorchUniform(), shape)
    )


def test_config_round_trip():
    initializer = keras.initializers.deserialize(
        keras.initializers.serialize(PyTorchUniform(seed=3))
    )
    assert type(initializer) is PyTorchUniform
    np.testing.assert_array_equal(
        draw(initializer, (5, 5)), draw(PyTorchUniform(3), (5, 5))
    )


def test_usable_by_name_in_stock_layers():
    layer = keras.layers.Dense(
        4, kernel_initializer="keras_davidnet>PyTorchUniform"
    )
    layer.build((None, 9))
    assert np.abs(layer.get_weights()[0]).max() <= 1 / 3


@pytest.mark.parametrize(
    "initializer",
    [
        PyTorchUniform(),
        PyTorchUniform(seed=1),
        PyTorchUniform(keras.random.SeedGenerator(1)),
        keras.initializers.HeNormal(seed=1),
    ],
    ids=["unseeded", "seeded", "generator", "stock"],
)
def test_forks_never_share_a_draw(initializer):
    draws = [draw(fork(initializer, i), (4, 4)) for i in range(3)]
    for i in range(3):
        for j in range(i):
            assert not np.array_equal(draws[i], draws[j])


def test_fork_keeps_what_draws_nothing():
    assert draw(fork(keras.initializers.Constant(3.0)), (1,)) == 3
    assert fork(np.ones) is np.ones
