"""Another optimizer for the filters of airbench's recipes."""

import keras
import numpy as np
import pytest

from keras_davidnet import recipes
from keras_davidnet.optimizers.leaves import leaf_optimizers

RATE = 0.125
STEPS = 10


def filters(optimizer):
    return next(o for o in leaf_optimizers(optimizer) if o.name == "filters")


@pytest.mark.parametrize("name", ["cpu94", "airbench94_muon", "airbench94"])
def test_schedule_is_the_recipes(name):
    recipe = recipes.get(name)
    given = keras.optimizers.AdamW(RATE, beta_1=0.8)
    optimizer = recipe.replace(filters_optimizer=given).optimizer(STEPS)
    changed = filters(optimizer)
    assert type(changed) is type(given) and changed is not given
    assert changed.beta_1 == 0.8
    # Without it, the largest group has the schedule.
    leaves = {leaf.name: leaf for leaf in leaf_optimizers(recipe.optimizer(10))}
    own = leaves.get("filters") or leaves["kernels"]
    rates = []
    for leaf in (own, changed):
        steps = range(int(STEPS * recipe.epochs) + 1)
        rates.append([])
        for step in steps:
            leaf.iterations.assign(step)
            rates[-1].append(float(leaf.learning_rate))
    own, changed = np.array(rates)
    np.testing.assert_allclose(
        changed, RATE * own / own.max(), rtol=1e-5, atol=1e-9
    )


def test_a_schedule_that_is_given_stays():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.25)
    recipe = recipes.get("airbench94_muon").replace(
        filters_optimizer=keras.optimizers.SGD(schedule)
    )
    changed = filters(recipe.optimizer(STEPS))
    changed.iterations.assign(2)
    assert float(changed.learning_rate) == 0.125


def test_a_schedule_that_has_no_copy():
    class Unregistered(keras.optimizers.schedules.ExponentialDecay):
        pass

    recipe = recipes.get("airbench94_muon").replace(
        filters_optimizer=keras.optimizers.SGD(Unregistered(0.5, 2, 0.25))
    )
    with pytest.raises(TypeError, match="register_keras_serializable"):
        recipe.optimizer(STEPS)


@pytest.mark.slow
def test_step_is_that_of_the_optimizer(rng):
    recipe = recipes.get("airbench94_muon").replace(
        widths=(2, 2, 2), num_classes=3, input_shape=(9, 9, 3), batch_size=8
    )
    x = rng.integers(0, 256, (64, 9, 9, 3), "uint8")
    y = np.arange(64) % 3
    sgd = keras.optimizers.SGD(RATE, momentum=0.9)
    weights = []
    for optimizer in (
        recipe.replace(filters_optimizer=sgd).optimizer(STEPS),
        keras.optimizers.SGD(RATE, momentum=0.9),
        recipe.optimizer(STEPS),
    ):
        keras.utils.set_random_seed(0)
        model = recipe.model()
        model.adapt(x)
        model.compile(optimizer)
        model.train_on_batch(x[:8], y[:8])
        weights.append(
            {v.path: keras.ops.convert_to_numpy(v) for v in model.weights}
        )
    changed, all_sgd, own = weights
    names = [name for name in changed if "/conv" in name]
    assert len(names) == 6
    for path, other in zip(changed, own, strict=True):
        # Another net has another name at the root.
        expected = own[other]
        if path in names:
            index = [*changed].index(path)
            expected = all_sgd[[*all_sgd][index]]
            assert (expected != own[other]).any()
        np.testing.assert_allclose(
            changed[path], expected, rtol=1e-4, atol=1e-7, err_msg=path
        )


def test_something_else():
    recipe = recipes.get("cpu94").replace(filters_optimizer="adam")
    with pytest.raises(TypeError, match="filters_optimizer='adam'"):
        recipe.optimizer(STEPS)
    with pytest.raises(ValueError, match="no part of that name"):
        recipes.get("davidnet").replace(filters_optimizer=None)
