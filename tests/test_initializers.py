import keras
import numpy as np
import pytest

from keras_davidnet import Airbench, DavidNet, Dirac, PyTorchUniform, ResBlock
from keras_davidnet.initializers import clone_initializer


def draw(initializer, shape):
    return keras.ops.convert_to_numpy(initializer(shape))


def kernels(model):
    return [w for w in model.get_weights() if w.ndim > 1]


def assert_pytorchs_law(values, fan_in):
    bound = 1 / np.sqrt(fan_in)
    values = np.sort(values.ravel()).astype("float64")
    n = values.size
    assert -bound <= values[0] and values[-1] <= bound
    # Four standard errors of mean and variance.
    assert abs(values.mean()) < 4 * bound / np.sqrt(3 * n)
    expected = bound**2 / 3
    assert abs(values.var() / expected - 1) < 4 * np.sqrt(0.8 / n)
    # Kolmogorov and Smirnov's distance to the uniform law; by chance it
    # is larger once in 3,000 kernels.
    law = (values + bound) / (2 * bound)
    ranks = np.arange(n + 1) / n
    distance = max((ranks[1:] - law).max(), (law - ranks[:-1]).max())
    assert distance < 2.1 / np.sqrt(n)


def test_kernels_of_the_net_follow_pytorchs_law():
    for kernel in kernels(DavidNet(width=32)):
        assert_pytorchs_law(kernel, kernel[..., 0].size)


# More filters than channels, fewer, as many; in one and three dimensions.
DIRAC_SHAPES = [
    (3, 3, 24, 64),
    (3, 3, 64, 64),
    (3, 3, 40, 8),
    (1, 1, 16, 64),
    (5, 3, 20, 80),
    (4, 2, 20, 80),
    (5, 10, 40),
    (3, 3, 3, 5, 20),
]


@pytest.mark.parametrize("shape", DIRAC_SHAPES, ids=str)
def test_dirac(shape):
    torch = pytest.importorskip("torch", reason="compares with torch.nn.init")
    kernel = draw(Dirac(), shape)
    *spatial, channels, filters = shape
    kept = min(channels, filters)
    expected = torch.nn.init.dirac_(torch.empty(filters, channels, *spatial))
    expected = np.moveaxis(expected.numpy(), (0, 1), (-1, -2))
    np.testing.assert_array_equal(kernel[..., :kept], expected[..., :kept])
    if filters > kept:
        assert_pytorchs_law(kernel[..., kept:], kernel[..., 0].size)


def test_diracs_clones_differ_beyond_the_identity():
    for seed in (None, 1):
        first, second = (
            draw(clone_initializer(Dirac(seed=seed), i), (3, 3, 4, 20))
            for i in range(2)
        )
        same = (first == second).all((0, 1, 2))
        np.testing.assert_array_equal(same, np.arange(20) < 4)


def test_a_seed_repeats_diracs_draws():
    shape = (3, 3, 4, 20)
    np.testing.assert_array_equal(
        draw(Dirac(seed=1), shape), draw(Dirac(seed=1), shape)
    )
    restored = keras.initializers.deserialize(
        keras.initializers.serialize(Dirac(seed=1))
    )
    assert type(restored) is Dirac
    np.testing.assert_array_equal(
        draw(restored, shape), draw(Dirac(seed=1), shape)
    )


def test_random_filters_of_airbench_follow_pytorchs_law():
    model = Airbench(widths=(64, 96, 96))
    for conv, kept in ((model.group1.conv1, 24), (model.group2.conv1, 64)):
        kernel = conv.get_weights()[0]
        assert_pytorchs_law(kernel[..., kept:], kernel[..., 0].size)
    # airbench94_muon's head has a standard deviation of 1.
    assert_pytorchs_law(model.linear.get_weights()[0], 1 / 3)
    assert_pytorchs_law(model.whiten.bias.numpy(), 12)


@pytest.mark.parametrize("shape", [(4, 5), (7,), ()], ids=str)
def test_dirac_wants_a_convolutions_kernel(shape):
    with pytest.raises(ValueError, match="Received: shape="):
        Dirac()(shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DavidNet(width=8),
        lambda: ResBlock(8, residual=True),
        lambda: ResBlock(
            8, residual=True, kernel_initializer=PyTorchUniform(3)
        ),
    ],
    ids=["net", "block", "seeded block"],
)
def test_kernels_never_share_a_draw(make):
    layer = make()
    layer.build((None, 16, 16, 3))
    # In units of the bound, which would tell equal draws apart.
    draws = [k.ravel()[:80] * np.sqrt(k[..., 0].size) for k in kernels(layer)]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert not np.isclose(one, other, atol=1e-6).any()


def random_numbers_of_airbench():
    model = Airbench(widths=(30, 40, 50))
    groups = model.group1, model.group2, model.group3
    return [
        model.whiten.bias.numpy(),
        *(group.conv1.get_weights()[0] for group in groups),
        model.linear.get_weights()[0],
    ]


@pytest.mark.parametrize(
    "draws", [lambda: kernels(DavidNet(width=2)), random_numbers_of_airbench]
)
def test_a_seed_gives_the_net_the_same_kernels(draws):
    nets = []
    for seed in (1, 1, 2, None):
        if seed is not None:
            keras.utils.set_random_seed(seed)
        nets.append(draws())
    for one, same, other, another in zip(*nets, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)
        assert not np.array_equal(other, another)


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


def test_usable_by_config_in_stock_layers():
    config = {"class_name": "keras_davidnet>PyTorchUniform", "config": {}}
    layer = keras.layers.Dense(4, kernel_initializer=config)
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
def test_clones_never_share_a_draw(initializer):
    draws = [draw(clone_initializer(initializer, i), (4, 4)) for i in range(3)]
    for i in range(3):
        for j in range(i):
            assert not np.array_equal(draws[i], draws[j])


def test_clone_keeps_what_draws_nothing():
    assert draw(clone_initializer(keras.initializers.Constant(3.0)), (1,)) == 3
    assert clone_initializer(np.ones) is np.ones


def test_an_initializer_without_a_config():
    class Filled(keras.initializers.Initializer):
        def __init__(self, value=1.0):
            self.value = value

        def __call__(self, shape, dtype=None):
            return keras.ops.full(shape, self.value, dtype)

    assert draw(clone_initializer(Filled(3.0)), (1,)) == 3
