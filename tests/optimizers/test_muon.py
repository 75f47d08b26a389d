"""Muon on convolution kernels against NumPy's in float64."""

import re

import keras
import numpy as np
import pytest
from helpers import filters_first, filters_last, floats
from plain import numpy_airbench

from keras_davidnet import Muon, PiecewiseLinear

# Those of airbench94, then with more filters than numbers in each, then the
# kernels of other dimensions.
SHAPES = [
    (3, 3, 24, 64),
    (3, 3, 64, 64),
    (3, 3, 64, 256),
    (3, 3, 256, 256),
    (1, 1, 8, 32),
    (3, 3, 2, 40),
    (5, 6, 10),
    (3, 3, 2, 4, 7),
]


def run(optimizer, gradients, start):
    """The weights after each update with the given gradients."""
    w = keras.Variable(start, dtype="float32")
    optimizer.build([w])
    path = []
    for g in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32")])
        path.append(keras.ops.convert_to_numpy(w))
    return path


def run_numpy(gradients, start, rates, **arguments):
    w, v, path = filters_first(start), 0.0, []
    for g, rate in zip(gradients, rates, strict=True):
        w, v = numpy_airbench.muon_step(
            w, v, filters_first(g), rate, **arguments
        )
        path.append(filters_last(w))
    return path


def problem(rng, shape, count=2):
    # Exact in float32, so that both sides begin with the same numbers.
    arrays = rng.normal(size=(count + 1, *shape)).astype("float32")
    return arrays[1:].astype("float64"), arrays[0].astype("float64")


def assert_close(actual, expected, tolerance=1e-5):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(
            one, other, rtol=0, atol=tolerance * np.abs(other).max()
        )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("steps", [3, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_two_steps(rng, shape, steps, nesterov, normalize):
    gradients, start = problem(rng, shape)
    optimizer = Muon(
        PiecewiseLinear([0, 2], [0.24, 0.0]),
        momentum=0.6,
        nesterov=nesterov,
        ns_steps=steps,
        normalize_weights=normalize,
    )
    expected = run_numpy(
        gradients,
        start,
        (0.24, 0.12),
        nesterov=nesterov,
        steps=steps,
        normalize=normalize,
    )
    assert_close(run(optimizer, gradients, start), expected)


def test_defaults_are_jordans(rng):
    gradients, start = problem(rng, (3, 3, 8, 16))
    expected = run_numpy(
        gradients, start, (0.02, 0.02), momentum=0.95, steps=5, normalize=False
    )
    assert_close(run(Muon(), gradients, start), expected)


def test_other_coefficients(rng):
    # Newton and Schulz's own, which converge: the step is orthogonal.
    gradients, start = problem(rng, (3, 3, 4, 8), count=1)
    (end,) = run(
        Muon(1.0, ns_steps=30, ns_coefficients=(1.5, -0.5, 0.0)),
        gradients,
        np.zeros_like(start),
    )
    step = filters_first(end).reshape(8, -1)
    np.testing.assert_allclose(step @ step.T, np.eye(8), atol=1e-5)


def test_the_gradients_scale_means_nothing(rng):
    gradients, start = problem(rng, (3, 3, 4, 8), count=3)
    one, other = (
        run(Muon(0.1, ns_steps=3), scale * gradients, start)
        for scale in (1, 1024)
    )
    assert_close(one, other)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_gradient_of_zero_moves_nothing(rng, normalize):
    gradients, start = problem(rng, (3, 3, 4, 8))
    end = run(Muon(0.1, normalize_weights=normalize), 0 * gradients, start)[-1]
    if normalize:
        start = start * np.sqrt(8) / np.linalg.norm(start)
    assert_close([end], [start])


def test_float64(rng):
    gradients, start = problem(rng, (3, 3, 4, 8), count=1)
    with floats("float64"):
        w = keras.Variable(start, dtype="float64")
        optimizer = Muon(0.24, 0.6, ns_steps=3, normalize_weights=True)
        optimizer.build([w])
        optimizer.apply([keras.ops.convert_to_tensor(gradients[0])])
        end = keras.ops.convert_to_numpy(w)
    assert_close([end], run_numpy(gradients, start, [0.24]), 1e-12)


def test_gradients_tiny_or_huge_give_finite_steps(rng):
    gradients, start = problem(rng, (3, 3, 4, 8), count=1)
    for scale in (1e-30, 1e15):
        (end,) = run(Muon(0.1), scale * gradients, start)
        assert np.isfinite(end).all()


def test_config_round_trip():
    arguments = {
        "momentum": 0.6,
        "nesterov": False,
        "ns_steps": 3,
        "ns_coefficients": (1.5, -0.5, 0.0),
        "normalize_weights": True,
        "clipnorm": 2.0,
        "name": "kernels",
    }
    optimizer = Muon(PiecewiseLinear([0, 5], [0.1, 0.0]), **arguments)
    restored = keras.optimizers.deserialize(
        keras.optimizers.serialize(optimizer)
    )
    assert type(restored) is Muon
    config = restored.get_config()
    assert config == {**optimizer.get_config(), **arguments}


@pytest.mark.parametrize("shape", [(), (7,), (4, 5), (2,) * 6], ids=str)
def test_other_weights_are_refused(shape):
    kernel = keras.Variable(np.ones((3, 3, 2, 2)), name="kernel")
    other = keras.Variable(np.ones(shape), name="odd_one")
    with pytest.raises(
        ValueError,
        match=re.compile(r"convolution.*Received: .*odd_one", re.DOTALL),
    ):
        Muon().build([kernel, other])


@pytest.mark.parametrize(
    "arguments",
    [
        {"momentum": 1.5},
        {"momentum": -0.1},
        {"ns_steps": 0},
        {"ns_steps": 2.5},
        {"learning_rate": -1.0},
        {"ns_coefficients": (1.5, -0.5)},
        {"ns_coefficients": (1.5, -0.5, float("nan"))},
    ],
)
def test_bad_arguments(arguments):
    ((name, value),) = arguments.items()
    message = f"`{name}`.*Received: {name}={re.escape(repr(value))}"
    with pytest.raises(ValueError, match=message):
        Muon(**arguments)


def test_the_program_of_the_benchmark_makes_the_same_steps(rng):
    torch = pytest.importorskip("torch")
    from plain import pytorch_airbench94

    gradients, start = problem(rng, (3, 3, 24, 64))
    w = torch.nn.Parameter(torch.tensor(filters_first(start)))
    optimizer = pytorch_airbench94.Muon([w])
    path = []
    for gradient in gradients:
        w.grad = torch.tensor(filters_first(gradient))
        optimizer.step()
        path.append(filters_last(w.detach().numpy().copy()))
    assert_close(path, run_numpy(gradients, start, (0.24, 0.24)), 1e-9)
