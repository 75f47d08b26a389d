"""Lookahead and the moving average against NumPy; and what keeps them."""

import warnings

import keras
import numpy as np
import pytest
from helpers import floats

from keras_davidnet import (
    Airbench,
    DavidNet,
    ExponentialAverage,
    GroupedOptimizer,
    Lookahead,
    PyTorchSGD,
    Resume,
    optimizers,
    recipes,
)

# These runs are short, and the averages of them as they should be.
pytestmark = pytest.mark.filterwarnings("ignore:When fit.. ends the net has")

BACKEND = keras.backend.backend()
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), "uint8")
LABELS = np.arange(32) % 3
AVERAGES = {
    "lookahead": lambda inner: Lookahead(inner, 3, 0.7, ramp_steps=8),
    "average": lambda inner: ExponentialAverage(inner, 3, 0.7),
}


def sgd():
    return PyTorchSGD(0.1, momentum=0.9)


def grouped():
    return GroupedOptimizer(sgd(), {".*kernel": PyTorchSGD(0.2)})


def numpys(name, gradients, w, rate=0.1):
    """The weights after these steps of plain SGD, and the slow copy."""
    slow = w
    for t, g in enumerate(gradients, 1):
        w = w - rate * g
        if name == "lookahead" and t % 3 == 0:
            kept = 0.7 * min(1, t / 8) ** 3
            w = slow = kept * slow + (1 - kept) * w
        if name == "average" and (t - 1) % 3 == 0:
            slow = 0.7 * slow + 0.3 * w
    return w, slow


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("inner", [PyTorchSGD, keras.optimizers.SGD])
def test_formula(rng, name, inner):
    gradients, start = rng.normal(size=(11, 4)), rng.normal(size=4)
    w = keras.Variable(start, dtype="float32")
    optimizer = AVERAGES[name](inner(0.1))
    # The copies are of what the weights are when it begins.
    optimizer.build([w])
    w.assign(start + 1)
    for g in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32")])
    fast, slow = numpys(name, gradients, start + 1)
    np.testing.assert_allclose(w.numpy(), fast, rtol=1e-5, atol=1e-6)
    optimizer.finalize_variable_values([w])
    np.testing.assert_allclose(w.numpy(), slow, rtol=1e-5, atol=1e-6)
    assert int(optimizer.iterations) == 11
    # What is loaded between two runs takes the place of the copies.
    w.assign(start - 5)
    for g in gradients[:2]:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32")])
    optimizer.finalize_variable_values([w])
    # Lookahead's copy follows after step 12, the average's after step 13.
    moved = gradients[: 1 if name == "lookahead" else 2].sum(0)
    expected = start - 5 - 0.3 * 0.1 * moved
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-5, atol=1e-6)


class Record(keras.callbacks.Callback):
    """The statistics after each step."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        if BACKEND == "jax":
            self.model.jax_state_sync()
        self.values.append(statistics(self.model))


def statistics(model):
    return [
        keras.ops.convert_to_numpy(w).copy()
        for w in model.weights
        if "moving" in w.path
    ]


@pytest.mark.parametrize("by_hand", [False, True])
def test_moving_statistics(by_hand):
    model = compiled(ExponentialAverage(sgd(), 3, 0.7))
    if by_hand:
        model.optimizer.build(model.trainable_variables)
    slow, record = statistics(model), Record()
    fit(model, 1, callbacks=[record])
    for t, values in enumerate(record.values, 1):
        if (t - 1) % 3 == 0:
            slow = [
                0.7 * s + 0.3 * v for s, v in zip(slow, values, strict=True)
            ]
    assert len(record.values) == 8
    for actual, expected in zip(statistics(model), slow, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", AVERAGES)
def test_statistics_that_no_step_followed_stay(rng, name):
    optimizer = AVERAGES[name](sgd())
    weight, statistic = (
        keras.Variable(rng.normal(size=4), dtype="float32") for _ in range(2)
    )
    optimizer.build([weight])
    optimizer.build_statistics([statistic])
    # A training step of a subclass: it does not call before_step, after_step.
    optimizer.apply([keras.ops.ones(4)])
    statistic.assign(np.arange(4))
    optimizer.finalize_variable_values([weight])
    np.testing.assert_array_equal(statistic.numpy(), np.arange(4))


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", AVERAGES)
def test_an_interrupted_fit_leaves_no_slow_weights(name):
    model = compiled(AVERAGES[name](sgd()))
    with pytest.raises(KeyboardInterrupt):
        fit(model, 1, callbacks=[Interrupt()])
    # All-zero gradients do not move what is loaded.
    model.optimizer.inner_optimizer.learning_rate = 0.0
    model.set_weights([w + 1 for w in model.get_weights()])
    expected = [w.numpy().copy() for w in model.trainable_variables]
    fit(model, 1)
    for w, array in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(w.numpy(), array, rtol=1e-6)


def compiled(optimizer, dtype=None, **kwargs):
    keras.utils.set_random_seed(0)
    model = DavidNet(
        num_classes=3, width=2, dropout=0, augmentation=None, dtype=dtype
    )
    model.compile(optimizer, **kwargs)
    return model


def fit(model, epochs, **kwargs):
    model.fit(
        IMAGES,
        LABELS,
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        **kwargs,
    )
    return model


def assert_same(one, other, tolerance=0):
    ours, theirs = (
        [
            keras.ops.convert_to_numpy(v)
            for v in model.variables + model.optimizer.variables
        ]
        for model in (one, other)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.skipif(BACKEND == "torch", reason="Keras runs one step there")
@pytest.mark.slow
def test_several_steps_at_once(name):
    # In float32 these steps make a thousandfold of what XLA rounds otherwise
    # in a loop.
    with floats("float64"):
        one, four = (
            fit(compiled(AVERAGES[name](grouped()), steps_per_execution=n), 2)
            for n in (1, 4)
        )
        assert_same(one, four, 1e-9)


@pytest.mark.parametrize(
    "name, dtype", [("average", "float32"), ("lookahead", "mixed_float16")]
)
@pytest.mark.slow
def test_resumed_it_ends_with_the_same_bits(tmp_path, name, dtype):
    def run(path, *stops):
        for epochs in stops:
            model = compiled(AVERAGES[name](grouped()), dtype)
            fit(model, epochs, callbacks=[Resume(tmp_path / path)])
        return model

    assert_same(run("whole.npz", 3), run("parts.npz", 1, 3))


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.slow
def test_saved_within_a_fit_it_goes_on(tmp_path, name):
    path = str(tmp_path / "net.keras")
    save = keras.callbacks.ModelCheckpoint(path, save_freq=4)
    model = compiled(AVERAGES[name](grouped()))
    fit(model, 0.5, callbacks=[save])
    loaded = keras.saving.load_model(path)
    whole = fit(compiled(AVERAGES[name](grouped())), 1)
    loaded.fit(IMAGES[16:], LABELS[16:], batch_size=4, shuffle=False, verbose=0)
    assert_same(whole, loaded, 1e-6)


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.slow
def test_between_two_fits_the_net_predicts(name):
    # On JAX Keras gives away the arrays that it predicts with.
    one, other = (fit(compiled(AVERAGES[name](grouped())), 1) for _ in range(2))
    one.predict(IMAGES, verbose=0)
    assert_same(one, other)
    assert_same(fit(one, 1), fit(other, 1))


def test_an_average_that_is_longer_than_the_run():
    model = compiled(ExponentialAverage(sgd(), 4))
    with pytest.warns(UserWarning, match="90% of that after 8 steps"):
        fit(model, 1)


@pytest.mark.parametrize("steps, warned", [(200, 1), (201, 0)])
def test_a_short_bag_of_tricks_warns(steps, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizers.bag_of_tricks_optimizer(steps, epochs=1)
    assert sum("its average" in str(w.message) for w in caught) == warned


def test_a_part_of_an_epoch():
    model = compiled(sgd())
    fit(model, 1.3)
    # 10.4 steps, eight per epoch.
    assert int(model.optimizer.iterations) == 11


@pytest.mark.parametrize(
    "cls, arguments",
    [
        (Lookahead, {"sync_period": 7, "momentum": 0.5, "ramp_steps": 9}),
        (ExponentialAverage, {"period": 7, "momentum": 0.5}),
    ],
)
def test_config_round_trip(cls, arguments):
    optimizer = cls(grouped(), **arguments)
    restored = keras.optimizers.deserialize(
        keras.optimizers.serialize(optimizer)
    )
    assert type(restored) is cls
    assert restored.get_config() == {**optimizer.get_config(), **arguments}


@pytest.mark.parametrize(
    "cls, arguments",
    [
        (Lookahead, {"sync_period": 0}),
        (Lookahead, {"momentum": 1.5}),
        (Lookahead, {"ramp_steps": 0}),
        (ExponentialAverage, {"period": 2.5}),
        (ExponentialAverage, {"momentum": -1}),
    ],
)
def test_bad_arguments(cls, arguments):
    with pytest.raises(ValueError, match="Received: "):
        cls(sgd(), **arguments)


def test_bad_optimizers():
    with pytest.raises(ValueError, match="Could not interpret.*3"):
        Lookahead(3)
    for inner in (
        Lookahead(sgd()),
        keras.optimizers.LossScaleOptimizer(sgd()),
        PyTorchSGD(use_ema=True),
        PyTorchSGD(gradient_accumulation_steps=2),
        PyTorchSGD(loss_scale_factor=2.0),
    ):
        with pytest.raises(ValueError, match="Received: "):
            Lookahead(inner)


# Rate and decay of the table for the mean loss; the biases'; the knots.
RECIPES = {
    "airbench94": (1.5, 1.33043e-3, 96.0, 2.0788e-5, 109, 476, 0.07),
    "airbench95": (1.304348, 1.53e-3, 83.47826, 2.390625e-5, 165, 720, 0.07),
    "airbench96": (1.173913, 1.333333e-3, 75.13043, 2.083333e-5, 177, 1776, 0),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_numbers(name):
    rate, decay, bias_rate, bias_decay, warm, last, final = RECIPES[name]
    recipe = recipes.get(name)
    optimizer = recipe.optimizer(steps_per_epoch=50_000 // recipe.batch_size)
    assert (optimizer.sync_period, optimizer.ramp_steps) == (5, last)
    assert optimizer.momentum == 0.95**5
    model = Airbench(
        **{**recipe.net_arguments, "widths": (4, 5, 6), "views": None}
    )
    optimizer.build(model.trainable_variables)
    for member in optimizer.inner_optimizer.optimizers:
        is_bias = member.name == "biases"
        assert member.momentum == 0.85 and member.nesterov
        np.testing.assert_allclose(
            member.coupled_weight_decay,
            bias_decay if is_bias else decay,
            rtol=1e-4,
        )
        count = len(member._trainable_variables)
        blocks = 9 if name == "airbench96" else 6
        assert count == {"whitening": 1, "biases": blocks}.get(
            member.name, blocks + 1
        )
        peak = bias_rate if is_bias else rate
        for step in (0, 1, warm, 143, 144, 145, last - 1):
            expected = np.interp(step, [0, warm, last], [0.2, 1, final])
            if member.name == "whitening" and step >= 144:
                expected = 0
            np.testing.assert_allclose(
                float(member._learning_rate(step)), peak * expected, rtol=1e-5
            )
