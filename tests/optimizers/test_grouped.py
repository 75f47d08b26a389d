"""An optimizer for each group of weights."""

import re

import keras
import numpy as np
import pytest

from keras_davidnet import GroupedOptimizer, PiecewiseLinear, PyTorchSGD


def make_net():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(3, 3, name="conv1", use_bias=False),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="linear"),
        ],
        name="net",
    )


def grouped(pattern=".*linear/kernel"):
    return GroupedOptimizer(
        PyTorchSGD(0.125),
        {
            ".*beta": PyTorchSGD(PiecewiseLinear([0, 2], [1.0, 0.0])),
            pattern: PyTorchSGD(0.5, momentum=0.9, weight_decay=0.1),
        },
    )


def test_each_group_takes_its_own_step(rng):
    net = make_net()
    optimizer = grouped()
    optimizer.build(net.trainable_variables)
    gradients = [rng.normal(size=v.shape) for v in net.trainable_variables]
    # The first step and the second of each weight.
    rates = {"net/bn/beta": (1.0, 0.5), "net/linear/kernel": (0.5, 0.5)}
    expected = []
    for v, g in zip(net.trainable_variables, gradients, strict=True):
        w, velocity = v.numpy().astype("float64"), 0.0
        momentum, decay = (
            (0.9, 0.1) if v.path == "net/linear/kernel" else (0.0, 0.0)
        )
        for rate in rates.get(v.path, (0.125, 0.125)):
            velocity = momentum * velocity + g + decay * w
            w = w - rate * velocity
        expected.append(w)
    for _ in range(2):
        optimizer.apply(
            [keras.ops.convert_to_tensor(g, "float32") for g in gradients]
        )
    paths = [v.path for v in net.trainable_variables]
    assert set(rates) < set(paths) and len(paths) == 5
    for v, w in zip(net.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(v.numpy(), w, rtol=1e-4, atol=1e-5)
    assert int(optimizer.iterations.numpy()) == 2


def test_saved_and_loaded_it_goes_on(rng, tmp_path):
    net = make_net()
    net.compile(grouped(), "mse")
    x, y = rng.normal(size=(4, 6, 6, 2)), rng.normal(size=(4, 2))
    net.fit(x, y, verbose=0)
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    for one, other in zip(
        loaded.optimizer.variables, net.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert int(loaded.optimizer.iterations.numpy()) == 1
    for model in (net, loaded):
        model.fit(x, y, verbose=0)
    for one, other in zip(net.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pattern", ["linear", "linear/kernels", ".*alpha"])
def test_a_pattern_that_matches_no_weight(rng, pattern):
    net = make_net()
    net.compile(grouped(pattern), "mse")
    before = net.get_weights()
    x, y = rng.normal(size=(4, 6, 6, 2)), rng.normal(size=(4, 2))
    with pytest.raises(
        ValueError, match=f"match.*weight.*Received: .*{re.escape(pattern)}"
    ):
        net.fit(x, y, verbose=0)
    assert int(net.optimizer.iterations.numpy()) == 0
    for one, other in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_patterns_that_match_one_weight_twice():
    two = GroupedOptimizer(
        PyTorchSGD(0.1),
        {".*kernel": PyTorchSGD(0.1), "linear/.*": PyTorchSGD(0.1)},
    )
    with pytest.raises(ValueError, match="linear/kernel"):
        two.build(make_net().trainable_variables)


def test_a_group_that_is_no_optimizer():
    with pytest.raises(ValueError, match="Received: .*sgd"):
        GroupedOptimizer(PyTorchSGD(0.1), {"linear/kernel": "sgd"})
    with pytest.raises(TypeError, match="Received: .*sgd"):
        GroupedOptimizer("sgd", {"linear/kernel": PyTorchSGD(0.1)})
