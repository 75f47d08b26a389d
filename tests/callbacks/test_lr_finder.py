"""The range test against NumPy, and that nothing of it is left behind."""

import itertools

import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference

from keras_davidnet import (
    Airbench,
    DavidNet,
    DecoupledWeightDecay,
    ExponentialAverage,
    GroupedOptimizer,
    LearningRateFinder,
    PyTorchSGD,
    datasets,
)
from keras_davidnet.optimizers.leaves import leaf_optimizers

BACKEND = keras.backend.backend()
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), "uint8")
LABELS = np.arange(24) % 3


def one_weight(optimizer, dtype="float32", **kwargs):
    """`x @ w`, whose squared error has the curvature `2 mean(x ** 2)`."""
    layer = keras.layers.Dense(1, use_bias=False, dtype=dtype)
    model = keras.Sequential([keras.Input((1,)), layer])
    # The loss scaler comes with the model's policy.
    model.dtype_policy = keras.DTypePolicy(dtype)
    model.compile(optimizer, "mse", **kwargs)
    model.set_weights([np.ones((1, 1))])
    return model


def stock_net():
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(3, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, metrics=["accuracy"])
    return model


def davidnet():
    model = DavidNet(
        3,
        width=1,
        augmentation="crop_flip_cutout",
    )
    model.compile()
    return model


def airbench():
    model = Airbench(3, widths=(2, 2, 2))
    model.adapt(IMAGES)
    model.compile()
    return model


def batches():
    return datasets.make_dataset(IMAGES, LABELS, 4, training=True, seed=0)


def state(model):
    variables = model.variables + model.optimizer.variables
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [4, 4, 2]])
def test_rates_and_losses_equal_numpy(rng, sizes):
    """Over eight epochs; the last batch of each may be smaller."""
    x = rng.uniform(0.8, 1.2, (sum(sizes), 1)).astype("float32")
    y = rng.uniform(4, 5, (sum(sizes), 1)).astype("float32")
    model = one_weight(PyTorchSGD(7.0, momentum=0.9, nesterov=True))
    finder = LearningRateFinder(1e-3, 3e-3)
    epochs = 8
    fit = {"batch_size": 4, "epochs": epochs, "shuffle": False, "verbose": 0}
    model.fit(x, y, **fit, callbacks=[finder])

    rates = np.geomspace(1e-3, 3e-3, 3 * epochs)
    starts = np.cumsum([0, *sizes])
    parts = [slice(a, b) for a, b in itertools.pairwise(starts)] * epochs
    w, velocity, losses = np.ones((1, 1)), 0, []
    for rate, part in zip(rates, parts, strict=True):
        error = x[part] @ w - y[part]
        losses.append(np.mean(error**2))
        gradient = 2 * x[part].T @ error / len(error)
        w, velocity = reference.sgd_step(w, velocity, gradient, rate)
    np.testing.assert_allclose(finder.rates, rates, rtol=1e-5)
    np.testing.assert_allclose(finder.losses, losses, rtol=1e-4)

    # An average over 24 / 20 steps whose weights sum to 1 at every step.
    beta = 1 - 20 / len(losses)
    for n, smoothed in enumerate(finder.smoothed, start=1):
        weights = beta ** np.arange(n)[::-1]
        expected = np.average(losses[:n], weights=weights)
        np.testing.assert_allclose(smoothed, expected, rtol=1e-4)
    steepest = np.argmin(np.diff(finder.smoothed))
    np.testing.assert_allclose(finder.suggestion, rates[steepest], rtol=1e-5)


def test_stops_where_gradient_descent_diverges():
    """It does so above 2 / curvature, and the curvature is 18 here."""
    x, y = np.full((40, 1), 3, "float32"), np.zeros((40, 1), "float32")
    model = one_weight(keras.optimizers.SGD(0.5))
    finder = LearningRateFinder(1e-4, 10)
    model.fit(x, y, 1, epochs=3, callbacks=[finder], verbose=0)
    rates, falls = np.array(finder.rates[:-1]), np.diff(finder.losses) < 0
    np.testing.assert_array_equal(falls, rates < 2 / 18)
    assert len(rates) < 119
    # Three more tenfold rises of the rate are left.
    assert 2 / 18 < finder.rates[-1] < 1
    assert finder.suggestion < 2 / 18
    smoothed = np.array(finder.smoothed)
    above = smoothed > 4 * np.minimum.accumulate(smoothed)
    assert above[-1] and not above[:-1].any()


def test_stops_at_a_loss_that_is_not_finite():
    x, y = np.ones((20, 1), "float32"), np.zeros((20, 1), "float32")
    x[11] = np.nan
    model = one_weight(keras.optimizers.Adam(0.5))
    finder = LearningRateFinder(1e-6, 1e-3)
    fit = {"batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(x, y, **fit, callbacks=[finder])
    np.testing.assert_allclose(
        finder.rates, np.geomspace(1e-6, 1e-3, 20)[:11], rtol=1e-5
    )
    assert np.isfinite(finder.losses).all()
    assert_same(model.get_weights(), [np.ones((1, 1))])


@pytest.mark.parametrize("make", [stock_net, davidnet])
def test_leaves_the_model_as_it_was(make):
    """A net that was trained before, to its last bit."""
    model, train_ds = make(), batches()
    fit = {"shuffle": False, "verbose": 0}
    model.fit(train_ds, epochs=1, **fit)
    before, config = state(model), model.optimizer.get_config()
    finder = LearningRateFinder(1e-5, 1e-2)
    model.fit(train_ds, epochs=4, **fit, callbacks=[finder])
    assert len(finder.losses) > 6
    assert_same(state(model), before)
    assert model.optimizer.get_config() == config


@pytest.mark.parametrize("make", [stock_net, airbench])
@pytest.mark.slow
def test_training_afterwards_is_that_of_a_model_without_it(make):
    """The rate, the augmentation and the order of the images are the same."""
    results = []
    for find in (False, True):
        keras.utils.set_random_seed(0)
        model, train_ds = make(), batches()
        fit = {"shuffle": False, "verbose": 0}
        if find:
            finder = LearningRateFinder(1e-4, 1e3)
            callbacks = [finder, datasets.SyncEpoch(train_ds)]
            model.fit(train_ds, epochs=4, **fit, callbacks=callbacks)
            # No rate makes the normalised filters of Airbench diverge.
            assert len(finder.losses) < 24 or make is airbench
        sync = datasets.SyncEpoch(train_ds)
        history = model.fit(train_ds, epochs=3, **fit, callbacks=[sync]).history
        results.append((history, model.get_weights()))
    (history, weights), (other_history, other_weights) = results
    assert other_history == history
    assert_same(other_weights, weights)


def test_groups_keep_their_proportion():
    """Of all steps; the bias has 64 times the rate of the kernel."""
    x, y = np.ones((20, 3), "float32"), np.zeros((20, 2), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = GroupedOptimizer(
        keras.optimizers.SGD(0.1), {".*bias": keras.optimizers.SGD(6.4)}
    )
    model.compile(optimizer, "mse")
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(model.get_weights())

    finder = LearningRateFinder(1e-4, 1e-3)
    fit = {"batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(x, y, **fit, callbacks=[finder, Look()])
    # All inputs are 1: bias and kernel have the same gradient.
    for before, after in itertools.pairwise(seen):
        kernel, bias = (b - a for a, b in zip(before, after, strict=True))
        np.testing.assert_allclose(bias, 64 * kernel[0], rtol=2e-3)
    np.testing.assert_allclose(
        finder.rates, np.geomspace(1e-4, 1e-3, 20), rtol=1e-5
    )


def test_schedules_of_groups_count_by_their_highest_rate():
    model = airbench()
    shares = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0 and not shares:
                for leaf in leaf_optimizers(self.model.optimizer):
                    shares[leaf.name] = float(leaf.learning_rate)

    callbacks = [LearningRateFinder(1e-3, 1.0), Look()]
    model.fit(batches(), epochs=4, callbacks=callbacks, verbose=0)
    # The published rates, SGD's for a batch of 2000.
    sgd = 2000 * np.array([0.053, 0.053, 0.67])
    names = ["biases", "whitening", "head", "filters"]
    rates = [shares[name] for name in names]
    expected = np.array([*sgd, 0.24]) / sgd[0]
    np.testing.assert_allclose(rates, 1e-3 * expected, rtol=1e-5)


def test_a_group_that_warms_up():
    warmup = keras.optimizers.schedules.CosineDecay(
        0.0, 1000, warmup_target=0.2, warmup_steps=150
    )
    model = stock_net()
    model.compile(
        GroupedOptimizer(
            keras.optimizers.SGD(0.1),
            {".*/bias": keras.optimizers.SGD(warmup, name="bias")},
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    (leaf, _), before = leaf_optimizers(model.optimizer), []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            before.append(float(leaf.learning_rate))

    finder = LearningRateFinder(1e-4, 1e-3)
    model.fit(batches(), epochs=4, callbacks=[finder, Look()], verbose=0)
    # Its highest rate is twice that of the default group.
    np.testing.assert_allclose(before, 2 * np.array(finder.rates), rtol=0.05)


def test_float16_with_a_loss_scale():
    """The gradient is above 2 first, and float16 is scaled by 2 ** 15."""
    x, y = np.full((30, 1), 4, "float32"), np.zeros((30, 1), "float32")
    model = one_weight(keras.optimizers.SGD(0.1), "mixed_float16")
    finder = LearningRateFinder(1e-6, 1e-5)
    fit = {"batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(x, y, **fit, callbacks=[finder])
    # The gradient of w = 1 is 32: five halvings bring it below 65504.
    assert np.diff(finder.losses).tolist()[:5] == [0] * 5
    assert finder.losses[-1] < finder.losses[0]
    np.testing.assert_allclose(
        finder.rates, np.geomspace(1e-6, 1e-5, 30), rtol=1e-5
    )
    assert model.optimizer.dynamic_scale == 2**15


@pytest.mark.parametrize(
    "exclude",
    [
        (),
        pytest.param(
            ("kernel",),
            marks=pytest.mark.skipif(
                BACKEND == "torch", reason="Keras cannot exclude all weights"
            ),
        ),
    ],
)
@pytest.mark.parametrize("finder_first", [True, False])
def test_beside_decoupled_decay(finder_first, exclude):
    x, y = np.ones((20, 1), "float32"), np.ones((20, 1), "float32")
    model = one_weight(PyTorchSGD(0.25, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    optimizer, before = model.optimizer, state(model)
    finder = LearningRateFinder(1e-3, 1e-2)
    callbacks = [finder, DecoupledWeightDecay(1.0, exclude)]
    if not finder_first:
        callbacks.reverse()
    fit = {"batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(x, y, **fit, callbacks=callbacks)
    # The first step decays from the minimum at 1.
    expected = 0 if exclude else 1e-6
    np.testing.assert_allclose(finder.losses[1], expected, rtol=1e-2)
    assert model.optimizer is optimizer
    assert model.optimizer.weight_decay is None
    assert_same(state(model)[: len(before)], before)
    model.fit(x[:1], 0 * y[:1], verbose=0)
    # w - 0.25 * 2 w
    np.testing.assert_allclose(model.get_weights(), [[[0.5]]])


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_after_an_interrupted_fit():
    model = davidnet()
    model.fit(IMAGES, LABELS, epochs=2, batch_size=4, verbose=0)
    before = state(model)
    finder = LearningRateFinder()
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            np.repeat(IMAGES, 2, 0),
            np.repeat(LABELS, 2),
            batch_size=2,
            callbacks=[finder, Interrupt()],
            verbose=0,
        )
    assert len(finder.losses) == 4
    assert_same(state(model), before)
    rate = model.optimizer.get_config()["learning_rate"]
    assert rate["class_name"] == "DefaultSchedule"


def test_after_an_interrupted_fit_of_a_stock_model():
    """The next `fit` with the finder, or `restore`, goes back to the start."""
    model, train_ds = stock_net(), batches()
    fit = {"epochs": 4, "shuffle": False, "verbose": 0}
    model.fit(train_ds, **fit)
    before = state(model)
    finder = LearningRateFinder(1e-5, 1e-2)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            model.fit(train_ds, **fit, callbacks=[finder, Interrupt()])
    finder.restore()
    assert_same(state(model), before)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"low": 0}, "`low` must be a number above 0"),
        ({"high": np.inf}, "`high` must be a number above"),
        ({"low": 1, "high": 1}, "`high` must be a number above 1.0"),
    ],
)
def test_bad_ranges(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LearningRateFinder(**kwargs)


def test_a_fit_that_is_too_short():
    with pytest.raises(
        ValueError, match="at least 20 steps.*6 steps.*epochs=3"
    ):
        davidnet().fit(
            batches(), epochs=3, callbacks=[LearningRateFinder()], verbose=0
        )


@pytest.mark.slow
def test_data_of_unknown_length():
    def endless():
        while True:
            yield IMAGES[:4], LABELS[:4]

    with pytest.raises(ValueError, match="Received: None steps per epoch"):
        davidnet().fit(
            endless(), shuffle=False, callbacks=[LearningRateFinder()]
        )
    finder = LearningRateFinder()
    davidnet().fit(
        endless(),
        shuffle=False,
        steps_per_epoch=20,
        callbacks=[finder],
        verbose=0,
    )
    assert finder.rates[0] == pytest.approx(1e-6)


def find_on_ones(model, **fit):
    """Runs the finder on 40 equal batches of one."""
    model.fit(
        np.ones((40, *model.input_shape[1:])),
        np.ones((40, *model.output_shape[1:])),
        batch_size=1,
        callbacks=[LearningRateFinder()],
        verbose=0,
        **fit,
    )


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it there")
def test_refuses_several_steps_per_execution():
    model = one_weight("sgd", steps_per_execution=2)
    with pytest.raises(ValueError, match="steps_per_execution=2"):
        find_on_ones(model)


def test_no_suggestion_without_a_fall():
    with pytest.raises(ValueError, match="Received: 0 steps"):
        LearningRateFinder().suggestion  # noqa: B018


def test_a_default_group_of_rate_zero():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(
        GroupedOptimizer(PyTorchSGD(0.0), {".*bias": PyTorchSGD(1.0)}), "mse"
    )
    with pytest.raises(ValueError, match=r"Received: rates=\[1.0, 0.0\]"):
        find_on_ones(model)


@pytest.mark.slow
def test_a_frozen_default_group():
    net = Airbench(3, widths=(2, 2, 2), input_shape=(16, 16, 3))
    net.adapt(IMAGES)
    for layer in net.body:
        layer.trainable = False
    net.compile()
    finder = LearningRateFinder(1e-4, 1e-2)
    net.fit(IMAGES, LABELS, 6, epochs=5, callbacks=[finder], verbose=0)
    np.testing.assert_allclose(finder.rates, np.geomspace(1e-4, 1e-2, 20))


@pytest.mark.parametrize("config", [False, True])
def test_a_schedule_that_cannot_be_put_back(config):
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 / (keras.ops.cast(step, "float32") + 1)

    if config:
        Schedule.get_config = lambda self: {}
    model = one_weight(keras.optimizers.SGD(Schedule()))
    with pytest.raises(ValueError, match="must have a `get_config` and be reg"):
        find_on_ones(model)


def test_refuses_an_initial_epoch():
    model = one_weight(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="Received: initial_epoch=2"):
        find_on_ones(model, initial_epoch=2, epochs=4)


@pytest.mark.slow
def test_warnings_are_for_the_training_after_it():
    net = DavidNet(3, width=1, input_shape=(16, 16, 3))
    net.compile(ExponentialAverage(PyTorchSGD(1e-3), momentum=0.99))
    fit = {"batch_size": 6, "epochs": 5, "verbose": 0}
    net.fit(IMAGES, LABELS, callbacks=[LearningRateFinder()], **fit)
    with pytest.warns(UserWarning, match="the net has its average"):
        net.fit(IMAGES, LABELS, **fit)
