import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference

from keras_davidnet import PiecewiseLinear, PyTorchSGD

KNOTS, VALUES, STEPS = [0, 15, 50], [0.0, 0.4, 0.0], 50


def run(optimizer, gradients, start):
    """Weights after each update with the given gradients."""
    w = keras.Variable(start)
    optimizer.build([w])
    path = []
    for g in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g)])
        path.append(keras.ops.convert_to_numpy(w))
    return np.array(path)


@pytest.fixture
def problem(rng):
    return (
        rng.normal(size=(STEPS, 3, 4)).astype("float32"),
        rng.normal(size=(3, 4)).astype("float32"),
    )


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_the_definition(problem, momentum, nesterov):
    gradients, w = problem
    optimizer = PyTorchSGD(
        PiecewiseLinear(KNOTS, VALUES),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=5e-2,
    )
    path = run(optimizer, gradients, w)
    v = 0
    for step, g in enumerate(gradients):
        rate = np.interp(step, KNOTS, VALUES)
        w, v = reference.sgd_step(w, v, g, rate, momentum, 5e-2, nesterov)
        np.testing.assert_allclose(path[step], w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_equals_torch(problem, nesterov):
    torch = pytest.importorskip("torch", reason="compares with torch.optim")
    gradients, start = problem
    path = run(
        PyTorchSGD(
            PiecewiseLinear(KNOTS, VALUES), 0.9, nesterov, weight_decay=5e-2
        ),
        gradients,
        start,
    )
    w = torch.nn.Parameter(torch.tensor(start))
    optimizer = torch.optim.SGD(
        [w], lr=1.0, momentum=0.9, nesterov=nesterov, weight_decay=5e-2
    )
    for step, g in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = np.interp(step, KNOTS, VALUES)
        w.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(
            path[step], w.detach().numpy(), rtol=1e-4, atol=1e-5
        )


def test_keras_sgd_takes_larger_last_steps(problem):
    # Why this class exists: the velocity of Keras's SGD remembers the rates
    # of the past.
    gradients, start = problem
    gradients = np.ones_like(gradients)
    rate = PiecewiseLinear(KNOTS, VALUES)
    ours = run(PyTorchSGD(rate, 0.9, nesterov=True), gradients, start)
    keras_sgd = keras.optimizers.SGD(rate, 0.9, nesterov=True)
    theirs = run(keras_sgd, gradients, start)
    last = (theirs[-1] - theirs[-2]) / (ours[-1] - ours[-2])
    # Both last steps from their definitions, for gradients of one.
    ours_v, theirs_v = 0.0, 0.0
    for step in range(STEPS):
        now = np.interp(step, KNOTS, VALUES)
        ours_v, theirs_v = 0.9 * ours_v + 1, 0.9 * theirs_v + now
    expected = (now + 0.9 * theirs_v) / (now + 0.9 * now * ours_v)
    assert expected > 8
    np.testing.assert_allclose(last, expected, rtol=1e-2)


def test_decay_is_coupled_after_clipping(problem):
    # As in PyTorch, where gradients are clipped before optimizer.step().
    _, w = problem
    path = run(
        PyTorchSGD(0.1, weight_decay=0.5, clipvalue=0.01),
        [np.full_like(w, 7.0)],
        w,
    )
    np.testing.assert_allclose(path[0], w - 0.1 * (0.01 + 0.5 * w), rtol=1e-5)


def test_excluded_weights_do_not_decay(problem):
    gradients, start = problem
    gradients = np.zeros_like(gradients[:1])
    optimizer = PyTorchSGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["variable"])
    np.testing.assert_array_equal(run(optimizer, gradients, start)[0], start)


def test_keras_decoupled_decay_takes_the_place_of_the_coupled(problem):
    _, w = problem
    optimizer = PyTorchSGD(0.1, momentum=0.9, weight_decay=0.5)
    optimizer.weight_decay = 0.2
    path = run(optimizer, np.zeros((3, 3, 4), "float32"), w)
    np.testing.assert_allclose(path[-1], w * (1 - 0.1 * 0.2) ** 3, rtol=1e-5)


def test_config_round_trip():
    optimizer = PyTorchSGD(
        PiecewiseLinear([0, 5], [0.1, 0.0]),
        momentum=0.85,
        nesterov=True,
        weight_decay=1e-3,
        clipnorm=2.0,
        name="sgd",
    )
    restored = keras.optimizers.deserialize(
        keras.optimizers.serialize(optimizer)
    )
    assert type(restored) is PyTorchSGD
    assert restored.get_config() == optimizer.get_config()
    assert restored.coupled_weight_decay == 1e-3
    assert restored.weight_decay is None


@pytest.mark.parametrize(
    "arguments",
    [{"momentum": -0.1}, {"momentum": 1.5}, {"weight_decay": -1e-4}],
)
def test_bad_arguments(arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}={value}"):
        PyTorchSGD(0.1, **arguments)
