import numpy as np
import pytest

from keras_davidnet import recipes

pytest.importorskip("scipy")

import runs  # noqa: E402


def test_a_run_has_the_precision_of_its_recipe(rng, tmp_path):
    data = rng.integers(0, 256, (16, 8, 8, 3), "uint8"), np.arange(16) % 10
    recipe = recipes.get("davidnet").replace(
        width=1,
        input_shape=(8, 8, 3),
        batch_size=8,
        epochs=1,
        dtype="mixed_bfloat16",
    )
    run = runs.run(recipe, 0, data, data, tmp_path / "run", False)
    assert run["precision"] == "mixed_bfloat16"
