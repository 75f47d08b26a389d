import copy

import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference

from keras_davidnet import (
    DavidNet,
    DecoupledWeightDecay,
    GroupedOptimizer,
    LearningRateFinder,
    PiecewiseLinear,
    PyTorchSGD,
    Resume,
)

STEPS, BATCH = 10, 4
KNOTS, VALUES = [0, 3, 10], [0.0, 0.4, 0.0]
# torch's trainer refuses more than one step an execution.
EXECUTIONS = [1] if keras.backend.backend() == "torch" else [1, 4]


@pytest.fixture
def data(rng):
    x = rng.normal(size=(STEPS, BATCH, 5)).astype("float32")
    y = rng.normal(size=(STEPS, BATCH, 2)).astype("float32")
    return x, y


def linear_model(optimizer, dtype="float32", steps_per_execution=1):
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(2, dtype=dtype)]
    )
    # The loss scaler comes with the model's policy.
    model.dtype_policy = keras.DTypePolicy(dtype)
    model.compile(optimizer, "mse", steps_per_execution=steps_per_execution)
    return model


def fit(model, data, *callbacks):
    x, y = data
    model.fit(
        x.reshape(-1, 5),
        y.reshape(-1, 2),
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model


def expected(weights, data, decays, rate=None):
    """Momentum SGD on the mean squared error, each weight with its decay.

    `rate` is that of both weights, or a pair; else the schedule's.
    """
    w, b = (a.astype("float64") for a in weights)
    velocities = [0, 0]
    for step, (x, y) in enumerate(zip(*data, strict=True)):
        now = np.interp(step, KNOTS, VALUES) if rate is None else rate
        rates = np.broadcast_to(now, 2)
        error = (x @ w + b - y) * 2 / y.size
        pairs = []
        for a, g, v, decay, now in zip(
            (w, b), (x.T @ error, error.sum(0)), velocities, decays, rates,
            strict=True,
        ):  # fmt: skip
            pairs.append(reference.sgd_step(a - now * decay * a, v, g, now))
        (w, b), velocities = zip(*pairs, strict=True)
    return w, b


def assert_weights(model, weights, rtol, atol=1e-6):
    for one, other in zip(model.get_weights(), weights, strict=True):
        # One weight of two may come near zero.
        np.testing.assert_allclose(one, other, rtol, atol)


@pytest.mark.parametrize("steps_per_execution", EXECUTIONS)
def test_equals_numpy_under_a_schedule(data, steps_per_execution):
    model = linear_model(
        PyTorchSGD(PiecewiseLinear(KNOTS, VALUES), 0.9, nesterov=True),
        steps_per_execution=steps_per_execution,
    )
    weights = model.get_weights()
    fit(model, data, DecoupledWeightDecay(0.1))
    assert_weights(model, expected(weights, data, (0.1, 0.1)), rtol=1e-4)


@pytest.mark.parametrize("steps_per_execution", EXECUTIONS)
def test_excluded_weights_do_not_decay(data, steps_per_execution):
    model = linear_model(
        PyTorchSGD(0.2, 0.9, nesterov=True),
        steps_per_execution=steps_per_execution,
    )
    start = [np.ones_like(w) for w in model.get_weights()]
    model.set_weights(start)
    fit(model, data, DecoupledWeightDecay(0.1, exclude=["bias$"]))
    assert_weights(
        model, expected(start, data, (0.1, 0.0), rate=0.2), rtol=1e-4
    )


def test_takes_the_place_of_coupled_decay(data):
    model = linear_model(PyTorchSGD(0.2, 0.9, nesterov=True, weight_decay=0.3))
    weights = model.get_weights()
    fit(model, data, DecoupledWeightDecay(0.1))
    assert_weights(
        model, expected(weights, data, (0.1, 0.1), rate=0.2), rtol=1e-4
    )
    assert model.optimizer.coupled_weight_decay == 0.3
    assert model.optimizer.weight_decay is None


def test_velocities_go_on_from_fit_to_fit(data):
    model = linear_model(PyTorchSGD(0.2, 0.9, nesterov=True))
    other = linear_model(PyTorchSGD(0.2, 0.9, nesterov=True))
    other.set_weights(model.get_weights())
    callbacks = [DecoupledWeightDecay(0.1, exclude=["bias"])]
    half = [(a[:5], a[5:]) for a in data]
    for part in range(2):
        fit(model, [pair[part] for pair in half], *callbacks)
    fit(other, data, *callbacks)
    assert_weights(model, other.get_weights(), rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer, decays",
    [
        (keras.optimizers.AdamW, ["weight_decay"]),
        (keras.optimizers.Lion, ["weight_decay"]),
        (keras.optimizers.Muon, ["weight_decay", "adam_weight_decay"]),
    ],
)
def test_stock_optimizers_equal_their_own_decay(data, optimizer, decays):
    with_callback = linear_model(optimizer(1e-2, **dict.fromkeys(decays, 0.7)))
    own = linear_model(optimizer(1e-2, **dict.fromkeys(decays, 0.1)))
    own.set_weights(with_callback.get_weights())
    fit(with_callback, data, DecoupledWeightDecay(0.1))
    fit(own, data)
    assert_weights(with_callback, own.get_weights(), rtol=1e-6)
    for name in decays:
        assert getattr(with_callback.optimizer, name) == 0.7


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Keras builds it sooner"
)
@pytest.mark.parametrize(
    "callback",
    [
        DecoupledWeightDecay(0.1),
        LearningRateFinder(),
        Resume("state.npz"),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_a_model_that_is_not_built(data, callback):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x, y = data
    with pytest.raises(ValueError, match="built before `fit`.*Received: model"):
        model.fit(x[0], y[0], 1, 10, verbose=0, callbacks=[callback])
    model.fit(x[0], y[0], verbose=0)


def test_under_the_loss_scaler_of_mixed_float16(data):
    model = linear_model(
        PyTorchSGD(0.2, 0.9, nesterov=True), dtype="mixed_float16"
    )
    scaler = model.optimizer
    assert isinstance(scaler, keras.optimizers.LossScaleOptimizer)
    # Scaled by 2 ** 15, these gradients would not be finite in float16.
    scaler.initial_scale = 1.0
    weights = model.get_weights()
    fit(model, data, DecoupledWeightDecay(0.1))
    assert_weights(
        model,
        expected(weights, data, (0.1, 0.1), rate=0.2),
        rtol=2e-2,
        atol=2e-3,
    )
    assert scaler.inner_optimizer.weight_decay is None


def test_fits_with_and_without_and_with_another_rate(data):
    model = linear_model(PyTorchSGD(0.2))
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    x, y = (np.zeros_like(a) for a in data)
    kernel = []
    for callbacks in (
        [],
        [DecoupledWeightDecay(0.1)],
        [DecoupledWeightDecay(0.5)],
        [],
    ):
        before = model.get_weights()[0][0, 0]
        fit(model, (x, y), *callbacks)
        kernel.append(model.get_weights()[0][0, 0] / before)
    np.testing.assert_allclose(
        kernel, [1, (1 - 0.2 * 0.1) ** 10, (1 - 0.2 * 0.5) ** 10, 1], rtol=1e-5
    )


def test_one_callback_for_two_models(data):
    callback = DecoupledWeightDecay(0.1)
    for _ in range(2):
        model = linear_model(PyTorchSGD(0.2, 0.9, nesterov=True))
        weights = model.get_weights()
        fit(model, data, callback)
        assert_weights(
            model, expected(weights, data, (0.1, 0.1), rate=0.2), rtol=1e-4
        )


def test_deep_copy_of_a_used_callback(data):
    callback = DecoupledWeightDecay(0.1, exclude=["bias"])
    fit(linear_model(PyTorchSGD(0.2)), data, callback)
    clone = copy.deepcopy(callback)
    model = linear_model(PyTorchSGD(0.2, 0.9, nesterov=True))
    weights = model.get_weights()
    fit(model, data, clone)
    assert_weights(
        model, expected(weights, data, (0.1, 0.0), rate=0.2), rtol=1e-4
    )


@pytest.mark.parametrize("excluded", [False, True])
def test_optimizer_is_as_it_was(data, excluded):
    optimizer = PyTorchSGD(0.2, 0.9, weight_decay=0.3)
    if excluded:
        optimizer.exclude_from_weight_decay(var_names=["kernel"])
    model = fit(linear_model(optimizer), data)
    config, attributes = optimizer.get_config(), dict(vars(optimizer))
    fit(model, data, DecoupledWeightDecay(0.1, exclude=["bias"]))
    assert optimizer.get_config() == config
    assert vars(optimizer).keys() == attributes.keys()
    for name in attributes:
        if "decay" in name:
            assert vars(optimizer)[name] == attributes[name], name


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("exclude", [[], ["bias"]])
def test_a_plain_fit_after_an_interrupted_one(data, exclude):
    model = linear_model(PyTorchSGD(0.2, 0.9, nesterov=True))
    callback, optimizer = DecoupledWeightDecay(0.1, exclude), model.optimizer
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, callback, Stop())
    callback.restore()
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 1
    # The velocity of the step that was done, which the reference has not.
    for variable in model.optimizer.variables:
        if variable.path.endswith("momentum"):
            variable.assign(np.zeros(variable.shape))
    weights = model.get_weights()
    fit(model, data)
    assert_weights(
        model, expected(weights, data, (0.0, 0.0), rate=0.2), rtol=1e-4
    )


def test_another_model_after_an_interrupted_fit(data):
    callback = DecoupledWeightDecay(0.1)
    model, other = (linear_model(PyTorchSGD(0.2)) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, callback, Stop())
    fit(other, data, callback)
    # Zero data has no gradient: whatever moves the weights is decay.
    before = model.get_weights()[0]
    x, y = (np.zeros_like(a) for a in data)
    model.set_weights([before, np.zeros(2)])
    fit(model, (x, y))
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_a_model_saved_while_armed_keeps_its_coupled_decay(data, tmp_path):
    path = tmp_path / "{epoch}.keras"
    model = linear_model(PyTorchSGD(0.2, weight_decay=0.3))
    fit(
        model,
        data,
        DecoupledWeightDecay(0.1),
        keras.callbacks.ModelCheckpoint(path),
    )
    optimizer = keras.saving.load_model(tmp_path / "1.keras").optimizer
    assert optimizer.coupled_weight_decay == 0.3
    assert optimizer.weight_decay is None


@pytest.mark.parametrize("several", ["ours", "Keras's"])
def test_decays_every_group_at_its_rate(data, several):
    kernel, bias = (
        PyTorchSGD(rate, 0.9, nesterov=True, weight_decay=0.3, name=name)
        for rate, name in ((0.2, "kernel"), (0.05, "bias"))
    )
    if several == "ours":
        optimizer = GroupedOptimizer(kernel, {".*bias": bias})
    else:
        optimizer = keras.optimizers.MultiOptimizer(
            lambda v: bias if "bias" in v.path else kernel
        )
    model = linear_model(optimizer)
    weights = model.get_weights()
    fit(model, data, DecoupledWeightDecay(0.1))
    assert_weights(
        model,
        expected(weights, data, (0.1, 0.1), rate=(0.2, 0.05)),
        rtol=1e-4,
        atol=1e-6,
    )
    assert kernel.weight_decay is None and bias.weight_decay is None


@pytest.mark.parametrize("exclude", [[], ["beta"]])
def test_a_net_has_its_optimizer_back_after_a_fit_that_raised(exclude):
    model = DavidNet(width=1, input_shape=(8, 8, 3))
    model.compile(PyTorchSGD(0.2, weight_decay=0.3))
    optimizer = model.optimizer
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            np.zeros((4, 8, 8, 3), "uint8"),
            np.zeros(4, "int32"),
            verbose=0,
            callbacks=[DecoupledWeightDecay(0.1, exclude), Stop()],
        )
    assert model.optimizer is optimizer
    assert optimizer.weight_decay is None
    assert int(optimizer.iterations) == 1


def test_a_pattern_that_matches_nothing(data):
    model = linear_model(PyTorchSGD(0.2))
    with pytest.raises(ValueError, match="'gama' matches none"):
        fit(model, data, DecoupledWeightDecay(0.1, exclude=["gama"]))
    assert model.optimizer.weight_decay is None
