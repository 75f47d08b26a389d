import keras
import numpy as np
import pytest

from keras_davidnet import recipes

pytest.importorskip("scipy")

import ablations  # noqa: E402


def beginning(recipe, images):
    """All that a run of the recipe begins with."""
    keras.utils.set_random_seed(0)
    model = recipe.model()
    dataset = recipe.dataset(images, np.zeros(len(images)), seed=0)
    model.adapt(dataset)
    optimizer = keras.optimizers.serialize(recipe.optimizer(len(dataset)))
    order = dataset.plan.alternating_flip
    config = {**model.get_config(), "name": None}
    return [str(config), optimizer, order, *model.get_weights()]


@pytest.mark.parametrize("name", ablations.CHANGES)
def test_each_ablation_differs_from_its_recipe(rng, name):
    # Not those that a change adapts to.
    images = rng.integers(0, 128, (64, 32, 32, 3), "uint8")
    small = {"batch_size": 32, "epochs": 1, **ablations.NARROW[name]}
    base, *others = (
        beginning(recipes.get(name).replace(**small, **changed), images)
        for changed in ablations.CHANGES[name].values()
    )
    for other in others:
        assert not all(map(np.array_equal, base, other))
