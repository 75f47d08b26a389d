import keras
import numpy as np
import pytest

stats = pytest.importorskip("scipy.stats")

import ablations  # noqa: E402
import runs  # noqa: E402
from spread import summarize  # noqa: E402

from keras_davidnet import recipes  # noqa: E402


def test_summary_of_student_s_sleep_data():
    # The differences of Student's paper of 1908; the figures are those that
    # R's help page of `t.test` prints for `sleep`.
    values = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    summary = summarize(values, gate=0.0)
    assert summary["n"] == 10
    assert summary["mean"] == pytest.approx(1.58)
    assert summary["sd"] == pytest.approx(1.229995, abs=1e-6)
    assert summary["interval"] == pytest.approx(
        [0.7001142, 2.4598858], abs=1e-7
    )
    assert summary["p"] == pytest.approx(0.002833 / 2, abs=5e-7)
    assert (summary["least"], summary["most"]) == (0.0, 4.6)


@pytest.mark.parametrize("gate", [0.93, 0.94, 0.95])
def test_summary_equals_scipy_s_test(rng, gate):
    values = rng.normal(0.94, 0.002, 7)
    summary = summarize(values, gate)
    test = stats.ttest_1samp(values, gate, alternative="greater")
    assert summary["p"] == pytest.approx(test.pvalue, rel=1e-9)
    low, high = stats.ttest_1samp(values, gate).confidence_interval(0.95)
    assert summary["interval"] == pytest.approx([low, high], rel=1e-12)


def test_interval_holds_the_mean_19_times_in_20(rng):
    draws = rng.normal(0.94, 0.002, (4000, 4))
    ends = np.array([summarize(values)["interval"] for values in draws])
    held = (ends[:, 0] < 0.94) & (0.94 < ends[:, 1])
    # Five standard errors.
    assert abs(held.mean() - 0.95) < 5 * (0.95 * 0.05 / 4000) ** 0.5


def test_no_spread_no_interval():
    one = summarize([0.94], gate=0.93)
    assert one["sd"] is one["interval"] is one["p"] is None
    equal = summarize([0.5, 0.5], gate=0.93)
    assert equal["sd"] == 0
    assert equal["interval"] is equal["p"] is None


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


def beginning(recipe, images):
    """All that a run of the recipe begins with."""
    keras.utils.set_random_seed(0)
    model = recipe.model()
    if hasattr(model, "adapt"):
        model.adapt(images)
    dataset = recipe.dataset(images, np.zeros(len(images)), seed=0)
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
