import json

import keras
import numpy as np
import pytest

from keras_davidnet import GroupedOptimizer, PiecewiseLinear, PyTorchSGD
from keras_davidnet.optimizers.leaves import leaf_optimizers, schedule_of
from keras_davidnet.schedules import DefaultSchedule


def rates(schedule, steps):
    return np.array(
        [keras.ops.convert_to_numpy(schedule(step)) for step in steps]
    )


def compiled(schedule):
    """The schedule compiled alone, by XLA where the backend has it."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(schedule, jit_compile=True)
        return lambda step: function(tf.constant(step))
    if backend == "jax":
        import jax

        return jax.jit(schedule)
    # Keras's trainer on torch runs eagerly.
    return lambda step: schedule(keras.ops.convert_to_tensor(step))


@pytest.mark.parametrize(
    "knots, values",
    [
        ([0, 485, 2328], [0.0, 0.4, 0.0]),
        ([10, 20.5, 21, 400], [1.0, 0.2, 0.9, 0.1]),
        ([0, 1], [0.3, 0.3]),
    ],
)
def test_equals_numpy_interp_when_compiled(rng, knots, values):
    beyond = rng.uniform(-1.2 * knots[-1], 2.4 * knots[-1], 2_000)
    within = rng.uniform(knots[0], knots[-1], 8_000)
    steps = np.concatenate([knots, beyond, within]).astype("float32")
    np.testing.assert_allclose(
        rates(compiled(PiecewiseLinear(knots, values)), steps),
        np.interp(steps, knots, values),
        rtol=5e-7,
    )


def test_exact_at_the_knots_and_flat_outside():
    schedule = PiecewiseLinear([3, 7, 11], [0.1, 0.4, 0.0])
    np.testing.assert_array_equal(
        rates(schedule, [-5, 0, 3, 7, 11, 12, 10**6]),
        np.float32([0.1, 0.1, 0.1, 0.4, 0.0, 0.0, 0.0]),
    )


def test_many_steps_at_once():
    schedule = PiecewiseLinear([3, 7, 11, 20], [0.1, 0.4, 0.0, 0.2])
    steps = np.arange(24).reshape(4, 6)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(schedule(steps)),
        np.interp(steps, schedule.knots, schedule.values),
        rtol=1e-6,
        atol=1e-7,
    )


def test_knots_in_epochs():
    schedule = PiecewiseLinear.from_epochs(
        [0, 5, 24], [0, 0.4, 0], steps_per_epoch=97
    )
    np.testing.assert_allclose(
        rates(schedule, [0, 1, 5 * 97, 24 * 97 - 1, 24 * 97]),
        [0, 0.4 / 485, 0.4, 0.4 / (19 * 97), 0],
        rtol=1e-6,
    )


def test_every_step_of_a_compiled_fit_gets_its_rate():
    # A gradient of one and no momentum: each step takes its rate from w.
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    knots, values = [0, 3, 8], [0.0, 0.4, 0.0]
    model.compile(
        keras.optimizers.SGD(PiecewiseLinear(knots, values)),
        loss=lambda y, prediction: prediction,
    )
    taken = []
    for _ in range(10):
        before = model.get_weights()[0].item()
        model.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
        taken.append(before - model.get_weights()[0].item())
    np.testing.assert_allclose(
        taken, np.interp(np.arange(10), knots, values), atol=1e-6
    )


def test_config_round_trip():
    # NumPy's integers are no JSON.
    schedule = PiecewiseLinear(
        np.array([0, 2, 9]), np.float32([0.5, 0.25, 0.0]), name="rate"
    )
    restored = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(schedule)
    )
    assert type(restored) is PiecewiseLinear
    assert restored.get_config() == schedule.get_config()
    assert restored.name == "rate"
    assert json.loads(json.dumps(schedule.get_config())) == {
        "knots": [0, 2, 9],
        "values": [0.5, 0.25, 0],
        "name": "rate",
    }


@pytest.mark.parametrize(
    "knots, values, message",
    [
        ([0, 1], [0.1], "as many"),
        ([0], [0.1], "at least 2"),
        ([0, 2, 2], [0, 1, 0], "rise"),
        ([0, 2, 1], [0, 1, 0], "rise"),
        ([0, 1], [0, -0.1], "negative"),
        ([0, float("nan")], [0, 1], "finite"),
        ([0, 1], [0, float("inf")], "finite"),
    ],
)
def test_bad_arguments(knots, values, message):
    with pytest.raises(ValueError, match=message) as error:
        PiecewiseLinear(knots, values)
    assert f"knots={knots}" in str(error.value) or (
        f"values={values}" in str(error.value)
    )


@pytest.mark.parametrize(
    "schedule",
    [
        PiecewiseLinear([0, 3, 8], [0.1, 0.4, 0.0]),
        keras.optimizers.schedules.CosineDecay(0.3, 7),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_default_schedule_is_the_one_inside(schedule):
    steps = np.arange(12)
    expected = rates(compiled(schedule), steps)
    np.testing.assert_array_equal(
        rates(compiled(DefaultSchedule(schedule)), steps), expected
    )
    later = DefaultSchedule(schedule, start=5)
    restored = keras.optimizers.schedules.deserialize(
        json.loads(json.dumps(keras.optimizers.schedules.serialize(later)))
    )
    assert type(restored) is DefaultSchedule
    for one in (later, restored):
        np.testing.assert_array_equal(rates(compiled(one), steps + 5), expected)


def test_the_schedule_of_an_optimizer():
    class WithoutConfig(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

    schedule = DefaultSchedule(PiecewiseLinear([0, 2], [1, 0]))
    optimizer = GroupedOptimizer(
        PyTorchSGD(schedule), {".*bias": keras.optimizers.SGD(0.1)}
    )
    constant, scheduled = leaf_optimizers(optimizer)
    assert schedule_of(constant) is None
    found = schedule_of(scheduled)
    assert isinstance(found, DefaultSchedule)
    assert found.get_config() == schedule.get_config()
    assert schedule_of(keras.optimizers.SGD(WithoutConfig())) is None
    # A rate that the user assigns is not the default any more.
    scheduled.learning_rate = schedule.schedule
    assert isinstance(schedule_of(scheduled), PiecewiseLinear)
