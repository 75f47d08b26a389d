import inspect
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import free_port
from searches import MARKS, keras_tuner, narrow

from keras_davidnet import (
    DavidNet,
    DecoupledWeightDecay,
    PiecewiseLinear,
    PyTorchSGD,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
    datasets,
    recipes,
)
from keras_davidnet.tuning import DavidNetHyperModel, RecipeHyperModel

pytestmark = MARKS


@pytest.fixture
def data(rng):
    """48 images of 8 by 8 pixels, in two classes: dark ones and light ones."""
    labels = rng.integers(0, 2, 48)
    images = rng.integers(0, 128, (48, 8, 8, 3)) + 128 * labels.reshape(
        -1, 1, 1, 1
    )
    return images.astype("uint8"), labels


def values_of(hypermodel):
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    return hp, model


def test_a_recipe_with_an_optimizer_of_its_own():
    class Adamed(recipes.Recipe):
        def optimizer(self, steps_per_epoch):
            return keras.optimizers.Adam(1 / steps_per_epoch)

    recipe = Adamed(**vars(recipes.get("davidnet")))
    _, model = values_of(RecipeHyperModel(recipe, width=1))
    assert isinstance(model.optimizer, keras.optimizers.Adam)


# The three forms.


def test_default_space():
    hp, _ = values_of(DavidNetHyperModel(width=[1, 2]))
    assert [type(p).__name__ + " " + p.name for p in hp.space] == [
        "Choice width",
        "Float peak_learning_rate",
        "Float warmup",
        "Float weight_decay",
        "Float dropout",
        "Float label_smoothing",
        "Choice augmentation",
        "Choice batch_size",
        "Choice epochs",
        "Choice decay",
    ]


def test_lists_ranges_and_single_values():
    hp, model = values_of(
        narrow(
            width=(1, 3),
            peak_learning_rate=(0.1, 1),
            dropout=(0, 0.5),
            label_smoothing=[0, 0.5],
            augmentation="none",
            epochs=7,
        )
    )
    space = {p.name: p for p in hp.space}
    drawn = {
        name: [p.random_sample(seed) for seed in range(300)]
        for name, p in space.items()
    }
    assert set(drawn["width"]) == {1, 2, 3}
    assert set(drawn["label_smoothing"]) == {0.0, 0.5}
    assert set(drawn["epochs"]) == {7}
    for name, low, middle, high in [
        ("peak_learning_rate", 0.1, np.sqrt(0.1), 1),
        ("dropout", 0, 0.25, 0.5),
    ]:
        below = np.mean([low <= value < middle for value in drawn[name]])
        above = np.mean([middle <= value <= high for value in drawn[name]])
        assert below + above == 1
        assert abs(below - 0.5) < 0.1
    assert model.augmentation is None


def test_impossible_values():
    for ranges in (
        {"width": []},
        {"width": (8, 4)},
        {"width": (4, 8, 16)},
        {"peak_learning_rate": (1.0, 0.1)},
        {"peak_learning_rate": (0.0, 1.0)},
        {"peak_learning_rate": ()},
        {"warmup": (0.0, 0.5)},
        {"warmup": 1.0},
        {"decay": "l2"},
        {"decay": ("coupled", "decoupled")},
        {"decay": []},
        {"weight_decay": [-1e-4]},
        {"dropout": (0.2, 0.2)},
        {"epochs": "24"},
    ):
        (name,) = ranges
        with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}="):
            DavidNetHyperModel(**ranges)


# Any recipe.


# To warn of the number of steps is for `fit`, which knows it.
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", recipes.names())
def test_space_of_every_recipe(name):
    net = inspect.signature(recipes.get(name).net).parameters
    size = (
        {"width": [1, 2]}
        if "width" in net
        else {"widths": [(1, 1, 1), (2,) * 3]}
    )
    hypermodel = RecipeHyperModel(
        name,
        **size,
        input_shape=(16, 16, 3),
        label_smoothing=(0, 0.5),
        weight_decay=(1e-6, 1e-4),
        batch_size=(16, 32),
        epochs=[1, 2],
        logit_scale=1,
        views=["mirror", None],
    )
    hp, model = values_of(hypermodel)
    space = {p.name: p.get_config() for p in hp.space}
    assert list(space) == [
        *size,
        "label_smoothing",
        "weight_decay",
        "batch_size",
        "epochs",
        "logit_scale",
        "views",
    ]
    samplings = {p: space[p].get("sampling") for p in space}
    assert samplings["weight_decay"] == samplings["batch_size"] == "log"
    assert samplings["label_smoothing"] == "linear"
    assert model.input_shape == (None, 16, 16, 3)
    assert model.count_params() < 16_000
    assert model.views == "mirror"
    hp.values["views"] = "None"
    hp.values["label_smoothing"] = 0.25
    model = hypermodel.build(hp)
    assert model.views is None
    assert model.label_smoothing == 0.25


def test_what_a_recipe_cannot_take():
    for space, message in (
        ({"dropout": 0.1}, "weight_decay.*Received: dropout=0.1"),
        ({"widths": []}, "`widths`.*Received: widths="),
        (
            {"filters_learning_rate": (0.0, 0.5)},
            "0 < min < max. Received: filters_learning_rate",
        ),
        ({"whitening_epochs": (0, 2)}, "Received: whitening_epochs=0"),
        ({"whitening_epochs": [1, -1]}, "Received: whitening_epochs=-1"),
        ({"residual": (False, True)}, "`residual`.*Received: residual="),
        ({"batch_size": [16, 0]}, "Received: batch_size=0"),
        ({"epochs": 0}, "Received: epochs=0"),
    ):
        with pytest.raises(ValueError, match=message):
            RecipeHyperModel("airbench94_muon", **space)
    with pytest.raises(ValueError, match="must be one of .*airbench"):
        RecipeHyperModel("resnet50")


# The trial is what its values say.


@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
@pytest.mark.slow
def test_equals_a_training_composed_by_hand(data, decay):
    hypermodel = narrow(
        width=2,
        peak_learning_rate=0.3,
        warmup=0.25,
        decay=decay,
        weight_decay=0.02,
        dropout=0.1,
        label_smoothing=0.15,
        augmentation="crop_flip_cutout",
        batch_size=20,
        epochs=2,
    )
    keras.utils.set_random_seed(1)
    hp, model = values_of(hypermodel)
    history = hypermodel.fit(hp, model, *data, verbose=0)

    keras.utils.set_random_seed(1)
    by_hand = DavidNet(
        width=2,
        num_classes=2,
        input_shape=(8, 8, 3),
        dropout=0.1,
        label_smoothing=0.15,
        augmentation=keras.Sequential(
            [RandomPadCrop(), RandomHorizontalFlip(), RandomCutout()]
        ),
    )
    # 48 images are two batches of 20.
    steps = 2 * 2
    by_hand.compile(
        PyTorchSGD(
            PiecewiseLinear([0, steps / 4, steps], [0, 0.3, 0]),
            momentum=0.9,
            nesterov=True,
            weight_decay=0.02 if decay == "coupled" else 0,
        )
    )
    expected = by_hand.fit(
        datasets.make_dataset(*data, 20, training=True),
        epochs=2,
        callbacks=[DecoupledWeightDecay(0.2)] * (decay == "decoupled"),
        verbose=0,
    )
    assert model.optimizer.iterations == steps
    assert float(model.optimizer.learning_rate) == 0
    assert_same(history, expected)


def assert_same(history, expected):
    """The runs have the same logs and end with the same weights."""
    assert history.history.keys() == expected.history.keys()
    for name, values in expected.history.items():
        np.testing.assert_allclose(
            history.history[name], values, rtol=1e-5, err_msg=name
        )
    pairs = zip(history.model.weights, expected.model.weights, strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(one),
            keras.ops.convert_to_numpy(other),
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.mark.slow
def test_search_over_another_recipe(rng, tmp_path):
    """Values of the space become `Recipe.replace`, through a whole search."""
    x, y = rng.integers(0, 256, (48, 16, 16, 1), "uint8"), np.arange(48) % 3
    fixed = {
        "input_shape": (16, 16, 1),
        "mean": [0.5],
        "std": [0.3],
        "num_classes": 3,
        "views": None,
        "batch_size": 20,
        "epochs": 2,
    }
    hypermodel = RecipeHyperModel(
        "airbench94_muon",
        widths=[(2, 3, 4), (3, 4, 5)],
        residual=[False, True],
        filters_learning_rate=(0.1, 0.5),
        whitening_epochs=(1, 2),
        alternating_flip=[True, False],
        **fixed,
    )
    tuner = keras_tuner.RandomSearch(
        hypermodel, "val_loss", max_trials=1, directory=tmp_path, seed=3
    )
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    (trial,) = tuner.oracle.get_best_trials()
    assert trial.status == "COMPLETED"
    hp = trial.hyperparameters
    (best,) = tuner.get_best_models()
    loss, _ = best.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(trial.score, rel=1e-5)

    keras.utils.set_random_seed(1)
    history = hypermodel.fit(
        hp, hypermodel.build(hp), x, y, validation_data=(x, y), verbose=0
    )

    keras.utils.set_random_seed(1)
    recipe = recipes.get("airbench94_muon").replace(
        widths={"(2, 3, 4)": (2, 3, 4), "(3, 4, 5)": (3, 4, 5)}[hp["widths"]],
        residual=hp["residual"] == "True",
        filters_learning_rate=hp["filters_learning_rate"],
        whitening_epochs=hp["whitening_epochs"],
        alternating_flip=hp["alternating_flip"] == "True",
        **fixed,
    )
    by_hand = recipe.model()
    by_hand.adapt(x)
    batches = recipe.dataset(x, y)
    by_hand.compile(recipe.optimizer(steps_per_epoch=2))
    expected = by_hand.fit(batches, epochs=2, validation_data=(x, y), verbose=0)
    assert_same(history, expected)


SMALL = {"widths": (2, 2, 2), "input_shape": (9, 9, 3), "views": None}


def test_a_range_around_the_recipes_own_value():
    # 0.2 in the recipe, where the optimizer's default is 3.
    hp, _ = values_of(
        RecipeHyperModel("cpu94", whitening_epochs=(1, 3), **SMALL)
    )
    assert type(hp.get("whitening_epochs")) is float


@pytest.mark.slow
def test_a_saved_trial_still_anneals(rng, tmp_path):
    x, y = rng.integers(0, 256, (8, 9, 9, 3), "uint8"), np.arange(8) % 2
    hypermodel = RecipeHyperModel("airbench94_muon", **SMALL)
    _, model = values_of(hypermodel)
    model.adapt(x)
    model.save(tmp_path / "model.keras")
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
    # The last of four steps.
    np.testing.assert_allclose(
        history["learning_rate_filters"][-1], 0.24 / 4, rtol=1e-5
    )


@pytest.mark.slow
def test_rates_of_all_groups_where_a_run_goes_on(rng):
    x, y = rng.integers(0, 256, (8, 9, 9, 3), "uint8"), np.arange(8) % 2
    hypermodel = RecipeHyperModel(
        "airbench94_muon",
        widths=(2, 2, 2),
        input_shape=(9, 9, 3),
        batch_size=4,
        views=None,
    )
    hp, model = values_of(hypermodel)
    history = hypermodel.fit(
        hp, model, x, y, epochs=4, initial_epoch=2, verbose=0
    )
    # The last of the 8 steps' rates, an eighth of the first; the whitening's
    # three epochs are over.
    rates = {
        name: values[-1] / scale
        for name, values in history.history.items()
        for group, scale in [
            ("filters", 0.24),
            ("biases", 0.053 * 4),
            ("head", 0.67 * 4),
            ("whitening", 1),
        ]
        if name == f"learning_rate_{group}"
    }
    np.testing.assert_allclose(
        [rates[name] for name in sorted(rates)],
        [1 / 8, 1 / 8, 1 / 8, 0],
        rtol=1e-5,
    )


class Record(keras.callbacks.Callback):
    # KerasTuner copies the callback for each trial, but not its class.
    trained = []

    def on_train_begin(self, logs=None):
        self.trained.append((self.model.get_weights(), {}))

    def on_epoch_end(self, epoch, logs=None):
        self.trained[-1][1][epoch] = (
            logs["learning_rate"],
            int(self.model.optimizer.iterations),
            float(self.model.optimizer.learning_rate),
        )


@pytest.fixture
def record():
    Record.trained.clear()
    return Record()


@pytest.mark.slow
def test_rate_and_weights_through_hyperband(data, record, tmp_path):
    tuner = keras_tuner.Hyperband(
        narrow(decay=["coupled", "decoupled"], warmup=(0.1, 0.4)),
        objective="loss",
        max_epochs=2,
        factor=2,
        seed=1,
        directory=tmp_path,
        project_name="search",
    )
    tuner.search(*data, callbacks=[record], verbose=0)
    trials = [tuner.oracle.trials[id] for id in tuner.oracle.start_order]
    assert [trial.status for trial in trials] == ["COMPLETED"] * len(trials)
    resumed = 0
    for trial, (weights, epochs) in zip(trials, record.trained, strict=True):
        hp = trial.hyperparameters.values
        first, last = hp["tuner/initial_epoch"], hp["tuner/epochs"]
        assert list(epochs) == list(range(first, last))
        knots = [0, hp["warmup"] * last * 3, last * 3]
        for epoch, (logged, step, rate) in epochs.items():
            # Three batches of 16 per epoch; the logs hold the last one's rate.
            assert step == 3 * (epoch + 1)
            np.testing.assert_allclose(
                [logged, rate],
                np.interp(
                    [step - 1, step], knots, [0, hp["peak_learning_rate"], 0]
                ),
                rtol=1e-4,
            )
        assert rate == 0
        if first:
            resumed += 1
            earlier = tmp_path / "search" / f"trial_{hp['tuner/trial_id']}"
            _, model = values_of(narrow())
            model.load_weights(earlier / "checkpoint.weights.h5")
            for one, other in zip(weights, model.get_weights(), strict=True):
                np.testing.assert_array_equal(one, other)
    assert resumed


@pytest.mark.slow
def test_best_model(data, tmp_path):
    tuner = keras_tuner.RandomSearch(
        narrow(),
        objective="val_accuracy",
        max_trials=2,
        directory=tmp_path,
    )
    tuner.search(*data, validation_data=data, verbose=0)
    (model,) = tuner.get_best_models()
    (trial,) = tuner.oracle.get_best_trials()
    assert model.evaluate(*data, verbose=0)[1] == pytest.approx(trial.score)
    model.save(tmp_path / "best.keras")
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(
        loaded.predict(data[0], verbose=0),
        model.predict(data[0], verbose=0),
        rtol=1e-5,
    )


# Several processes.

SEARCH = """
import sys
import keras_tuner
import numpy as np
from keras_davidnet.tuning import DavidNetHyperModel

rng = np.random.default_rng(0)
x, y = rng.integers(0, 256, (32, 8, 8, 3), "uint8"), rng.integers(0, 2, 32)
tuner = keras_tuner.RandomSearch(
    DavidNetHyperModel(
        num_classes=2,
        input_shape=(8, 8, 3),
        width=1,
        dropout=0.0,
        augmentation="none",
        batch_size=16,
        epochs=2,
    ),
    objective="val_loss",
    max_trials=int(sys.argv[2]),
    directory=sys.argv[1],
    project_name="search",
)
tuner.search(x, y, validation_data=(x, y), verbose=2)
"""


def start(folder, trials, **environment):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", SEARCH, str(folder), str(trials)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def read_trials(folder):
    return [
        json.loads(path.read_text())
        for path in sorted(folder.glob("search/trial_*/trial.json"))
    ]


one_backend = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="alike on all backends"
)


@pytest.mark.slow
@one_backend
def test_a_killed_search_goes_on(tmp_path):
    process = start(tmp_path, trials=3)
    for line in process.stdout:
        if "Running Trial #2" in line:
            break
    process.kill()
    process.communicate()
    assert process.returncode < 0
    finished, interrupted = read_trials(tmp_path)
    assert finished["status"] == "COMPLETED"
    assert interrupted["status"] == "RUNNING"
    kept = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.glob("search/trial_0/*")
    }

    output, _ = start(tmp_path, trials=3).communicate()
    assert output.count("Epoch 1/2") == 2
    trials = read_trials(tmp_path)
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 3
    assert trials[0] == finished
    assert (
        trials[1]["hyperparameters"]["values"]
        == interrupted["hyperparameters"]["values"]
    )
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
@one_backend
def test_chief_and_two_workers_share_a_search(tmp_path):
    port = free_port()
    chief, *workers = (
        start(
            tmp_path,
            trials=4,
            KERASTUNER_TUNER_ID=name,
            KERASTUNER_ORACLE_IP="127.0.0.1",
            KERASTUNER_ORACLE_PORT=str(port),
        )
        for name in ("chief", "worker-0", "worker-1")
    )
    outputs = [worker.communicate()[0] for worker in workers]
    # It would see that all is done within 20 seconds.
    chief.kill()
    trained = [output.count("Epoch 1/2") for output in outputs]
    assert sum(trained) == 4
    assert min(trained) > 0
    assert "Epoch" not in chief.communicate()[0]
    trials = read_trials(tmp_path)
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 4
    peaks = {
        trial["hyperparameters"]["values"]["peak_learning_rate"]
        for trial in trials
    }
    assert len(peaks) == 4


def test_choices_that_are_objects():
    def hypermodel():
        return RecipeHyperModel(
            "davidnet",
            width=1,
            input_shape=(8, 8, 3),
            augmentation=[keras.layers.RandomFlip(), None],
            classifier_activation=[lambda x: x, None],
        )

    hp, _ = values_of(hypermodel())
    # As a search that is continued does it, in another program.
    again = keras_tuner.HyperParameters.from_config(hp.get_config())
    net = hypermodel().build(again)
    assert isinstance(net.augmentation, keras.layers.RandomFlip)
