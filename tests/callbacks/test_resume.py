import datetime
import json
import pathlib
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_davidnet import (
    ConvBN,
    DavidNet,
    DecoupledWeightDecay,
    PiecewiseLinear,
    PyTorchSGD,
    Resume,
)
from keras_davidnet.datasets import make_dataset
from keras_davidnet.optimizers import davidnet_optimizer

PROGRAM = pathlib.Path(__file__).with_name("train_and_resume.py")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), "uint8")
LABELS = np.arange(8) % 3
# What the file holds is under test: a step that runs a few times is traced for
# longer than it runs.  The killed program and that of each precision trace it.
UNTRACED = {"run_eagerly": keras.backend.backend() != "jax"}


def start(folder):
    return subprocess.Popen(
        [sys.executable, PROGRAM, folder / "state.npz", folder / "result.npz"]
    )


def finish(folder):
    assert start(folder).wait() == 0
    with np.load(folder / "result.npz") as file:
        return dict(file)


def kill(folder, seen):
    """Kills a run as soon as `seen` is true."""
    process = start(folder)
    while not seen():
        assert process.poll() is None, "the training ended before its kill"
    process.kill()
    process.wait()


def changed(path):
    before = path.stat().st_mtime_ns if path.exists() else None
    return lambda: path.exists() and path.stat().st_mtime_ns != before


@pytest.mark.slow
def test_killed_training_ends_as_if_it_had_not_been(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    expected = finish(whole)

    state = killed / "state.npz"
    unfinished = killed / "unfinished-state.npz"
    # Between two epochs, in a save, in a step.
    kill(killed, changed(state))
    kill(killed, unfinished.exists)
    saved = changed(state)
    kill(killed, lambda: saved() and not time.sleep(0.02))
    result = finish(killed)

    assert result.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)


def compiled():
    model = DavidNet(num_classes=3, width=1)
    model.compile(**UNTRACED)
    return model


def test_finished_training_is_not_begun_again(tmp_path):
    resume = Resume(tmp_path / "runs" / "state.npz")
    model = compiled()
    history = model.fit(IMAGES, LABELS, epochs=2, callbacks=[resume]).history
    again = compiled()
    same = again.fit(IMAGES, LABELS, epochs=2, callbacks=[resume]).history
    assert same == history and len(history["loss"]) == 2
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # Without the callback the next `fit` begins at its first epoch.
    assert len(again.fit(IMAGES, LABELS, epochs=1).history["loss"]) == 1


@pytest.mark.parametrize("stops", [(1.5, 1.5), (1.5, 3), (1.5, 2, 3)])
def test_a_part_of_an_epoch_is_repeated(tmp_path, stops):
    def train(path, *stops):
        for epochs in stops:
            keras.utils.set_random_seed(0)
            model = DavidNet(3, width=1, dropout=0, augmentation=None)
            model.compile("sgd", **UNTRACED)
            history = model.fit(
                IMAGES,
                LABELS,
                batch_size=4,
                epochs=epochs,
                shuffle=False,
                callbacks=[Resume(tmp_path / path)],
                verbose=0,
            )
        return model.get_weights(), history.history

    keras.tree.map_structure(
        np.testing.assert_array_equal,
        train("parts.npz", *stops),
        train("whole.npz", stops[-1]),
    )


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
@pytest.mark.filterwarnings("ignore:The learning rate's last knot")
@pytest.mark.slow
def test_every_precision(tmp_path, policy):
    def train(name, *stops):
        for epochs in stops:
            # What is not restored would differ.
            keras.utils.set_random_seed(epochs if epochs != stops[0] else 0)
            model = DavidNet(num_classes=3, width=2, dropout=0, dtype=policy)
            model.compile(davidnet_optimizer(2, 3))
            resume = Resume(tmp_path / name)
            model.fit(
                IMAGES,
                LABELS,
                batch_size=4,
                epochs=epochs,
                shuffle=False,
                callbacks=[resume],
            )
        return model.variables + model.optimizer.variables

    whole, parts = train("whole.npz", 3), train("parts.npz", 1, 3)
    for one, other in zip(whole, parts, strict=True):
        one, other = map(keras.ops.convert_to_numpy, (one, other))
        np.testing.assert_array_equal(one, other)


def test_damaged_file(tmp_path):
    path = tmp_path / "state.npz"
    compiled().fit(IMAGES, LABELS, callbacks=[Resume(path)])
    data = bytearray(path.read_bytes())
    for damaged in (data[:-100], b"", data[:3000] + b"x" + data[3001:]):
        path.write_bytes(damaged)
        model = compiled()
        before = [keras.ops.convert_to_numpy(w) for w in model.weights]
        with pytest.raises(ValueError, match="undamaged.*Received: path="):
            model.fit(IMAGES, LABELS, epochs=2, callbacks=[Resume(path)])
        for weight, value in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)


def test_header_of_something_else(tmp_path):
    path = tmp_path / "state.npz"
    compiled().fit(IMAGES, LABELS, callbacks=[Resume(path)], verbose=0)
    with np.load(path) as file:
        header, *arrays = file.values()
    header = json.loads(header.item()) | {"epochs": -5}
    np.savez(path, np.array(json.dumps(header)), *arrays)
    with pytest.raises(ValueError, match="of Resume.*Received: path="):
        compiled().fit(IMAGES, LABELS, epochs=2, callbacks=[Resume(path)])


def test_a_run_that_was_stopped_early(tmp_path):
    def train(epochs):
        model = compiled()
        stop = keras.callbacks.EarlyStopping(
            "loss", patience=0, min_delta=9, restore_best_weights=True
        )
        resume = Resume(tmp_path / "state.npz")
        history = model.fit(
            IMAGES, LABELS, epochs=epochs, callbacks=[stop, resume], verbose=0
        ).history
        return model, history

    (model, history), (again, same) = train(5), train(5)
    assert len(history["loss"]) == 2
    assert same == history
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(
            *map(keras.ops.convert_to_numpy, (one, other))
        )
    # Whoever asks for more epochs gets them.
    assert len(train(6)[1]["loss"]) > 2


def sgd(decay=0.0, schedule=(0.1, 0)):
    rate = PiecewiseLinear([0, 4], schedule) if schedule else 0.1
    return PyTorchSGD(rate, weight_decay=decay)


def train_on(path, optimizer=sgd, batch_size=4, epochs=2, **kwargs):
    model = DavidNet(**{"num_classes": 3, "width": 1, **kwargs})
    model.compile(optimizer(), **UNTRACED)
    dataset = batch_size and make_dataset(
        IMAGES, LABELS, batch_size, training=True
    )
    data = (IMAGES, LABELS) if dataset is None else (dataset,)
    callbacks = [Resume(path, dataset)]
    try:
        fit = {"epochs": epochs, "callbacks": callbacks, "verbose": 0}
        return model.fit(*data, **fit).history
    finally:
        assert model._initial_epoch is None


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state.npz"
    with pytest.warns(UserWarning, match="last knot"):
        train_on(path, epochs=1)
    return path


def test_a_second_model_of_one_program_goes_on(state, tmp_path):
    shutil.copy(state, tmp_path)
    assert len(train_on(tmp_path / state.name)["loss"]) == 2


@pytest.mark.parametrize(
    "message, change",
    {
        "model.config.width: 1, not 2": {"width": 2},
        "model.config.augmentation": {"augmentation": None},
        "dtype.*'float32', not 'bfloat16'": {"dtype": "bfloat16"},
        "optimizer.config.weight_decay: 0.0, not 0.5": {
            "optimizer": lambda: sgd(0.5)
        },
        "optimizer.config.learning_rate": {
            "optimizer": lambda: sgd(schedule=(0.2, 0))
        },
        "optimizer.class": {"optimizer": keras.optimizers.SGD},
        "dataset.batch_size: 4, not 8": {"batch_size": 8},
        "dataset.images: 8, not None": {"batch_size": None},
    }.items(),
)
def test_state_of_another_run(state, message, change):
    written = state.read_bytes()
    expected = f"(?s)this model and this run.*{message}.*Received: path="
    with pytest.raises(ValueError, match=expected):
        train_on(state, **change)
    assert state.read_bytes() == written


@pytest.mark.parametrize("kind", ["arrays", "batches", "a stock model's"])
def test_no_fold_takes_the_state_of_another(tmp_path, kind):
    def train(fold, path):
        x, y = IMAGES[fold], LABELS[fold]
        dataset = make_dataset(x, y, 4, training=True)
        if kind == "a stock model's":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model = keras.Sequential(
                [keras.Input(x.shape[1:]), ConvBN(2), keras.layers.Flatten()]
            )
            model.compile(sgd(schedule=None), loss)
            callback = Resume(path, dataset)
        else:
            model = DavidNet(num_classes=3, width=1)
            model.compile(sgd(schedule=None), **UNTRACED)
            callback = Resume(path)
        data = (x, y) if kind == "arrays" else (dataset,)
        model.fit(*data, epochs=1, callbacks=[callback], verbose=0)
        return model.optimizer.iterations

    half = len(IMAGES) // 2
    folds = slice(half), slice(half, 2 * half)
    # They differ in what they hold alone.
    assert len(IMAGES[folds[0]]) == len(IMAGES[folds[1]])
    steps = [train(fold, tmp_path / f"{fold.start}.npz") for fold in folds]
    assert steps[0] == steps[1] > 0
    assert train(folds[0], tmp_path / "None.npz") == steps[0]
    with pytest.raises(ValueError, match="this run.*data: .*Receiv"):
        train(folds[1], tmp_path / "None.npz")


def test_another_learning_rate_is_the_same_run(tmp_path):
    # Callbacks set it; the one in the file is what counts.
    def train(rate, epochs):
        model = DavidNet(num_classes=3, width=1)
        model.compile(keras.optimizers.SGD(rate), **UNTRACED)
        resume = Resume(tmp_path / "state.npz")
        fit = {"epochs": epochs, "callbacks": [resume], "verbose": 0}
        return model.fit(IMAGES, LABELS, **fit).history["learning_rate"]

    train(0.25, 1)
    assert train(0.5, 2) == [0.25, 0.25]


@pytest.mark.parametrize("first", [True, False])
def test_any_place_among_the_callbacks(tmp_path, first):
    for epochs in (1, 2):
        dataset = make_dataset(IMAGES, LABELS, 4, training=True, seed=0)
        callbacks = [
            Resume(tmp_path / "state.npz", dataset.shard(2, 0)),
            DecoupledWeightDecay(0.1),
        ]
        history = compiled().fit(
            dataset.shard(2, 0),
            epochs=epochs,
            callbacks=callbacks if first else callbacks[::-1],
            verbose=0,
        )
        assert len(history.history["loss"]) == epochs


class Stop(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        raise KeyboardInterrupt


def test_an_interrupted_fit_leaves_no_epoch_behind(tmp_path):
    model, resume = compiled(), Resume(tmp_path / "state.npz")
    model.fit(IMAGES, LABELS, epochs=2, callbacks=[resume], verbose=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            IMAGES, LABELS, epochs=3, callbacks=[resume, Stop()], verbose=0
        )
    history = model.fit(IMAGES, LABELS, epochs=1, verbose=0).history
    assert len(history["loss"]) == 1


def test_steps_that_are_no_epoch(tmp_path):
    dataset = make_dataset(IMAGES, LABELS, 4, training=True)
    model = compiled()
    with pytest.raises(ValueError, match="steps_per_epoch=1"):
        model.fit(
            dataset,
            steps_per_epoch=1,
            callbacks=[Resume(tmp_path / "state.npz", dataset)],
        )
    assert model.optimizer.iterations == 0


class Rates(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["rate"] = np.float32(0.1)
        logs["rates"] = np.arange(3)
        logs["per_class"] = {"cat": np.float32(0.5)}
        logs["time"] = datetime.date(2024, 2, 29)


def test_logs_of_any_kind(tmp_path):
    def train(epochs):
        model = DavidNet(num_classes=3, width=1)
        model.compile(
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.F1Score()],
        )
        return model.fit(
            IMAGES,
            keras.utils.to_categorical(LABELS, 3),
            epochs=epochs,
            callbacks=[Rates(), Resume(tmp_path / "state.npz")],
            verbose=0,
        ).history

    once, twice = train(1), train(2)
    assert twice["rates"] == [[0, 1, 2]] * 2
    assert twice["rate"] == [float(np.float32(0.1))] * 2
    assert twice["per_class"] == [{"cat": 0.5}] * 2
    assert twice["time"] == ["2024-02-29"] * 2
    assert np.shape(twice["f1_score"]) == (2, 3)
    assert {name: values[:1] for name, values in twice.items()} == once


@pytest.mark.parametrize("given", [True, False])
def test_a_drawn_seed_goes_on(tmp_path, given):
    # Nobody gave one, so the second program draws a different one.
    datasets = [make_dataset(IMAGES, LABELS, 4, training=True) for _ in "ab"]
    drawn = datasets[0].plan.seed
    assert drawn != datasets[1].plan.seed
    for epochs, dataset in enumerate(datasets, start=1):
        compiled().fit(
            dataset,
            epochs=epochs,
            callbacks=[
                Resume(tmp_path / "state.npz", dataset if given else None)
            ],
            verbose=0,
        )
    assert datasets[1].plan.seed == drawn


def test_a_given_seed_is_compared(tmp_path):
    # A loop over seeds with one file would train the first only.
    def train(seed):
        dataset = make_dataset(IMAGES, LABELS, 4, training=True, seed=seed)
        compiled().fit(dataset, callbacks=[Resume(tmp_path / "state.npz")])

    train(0)
    train(0)
    with pytest.raises(ValueError, match="seed: 0, not 1"):
        train(1)


def test_a_number_in_the_name_of_a_function_is_compared(tmp_path):
    @keras.saving.register_keras_serializable("test_resume")
    def activation_1(x):
        return keras.ops.relu(x)

    @keras.saving.register_keras_serializable("test_resume")
    def activation_2(x):
        return keras.ops.tanh(x)

    def train(activation):
        model = keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(1, activation)]
        )
        model.compile("sgd", "mse")
        resume = Resume(tmp_path / "state.npz")
        x, y = np.ones((4, 2)), np.ones(4)
        model.fit(x, y, shuffle=False, callbacks=[resume], verbose=0)

    train(activation_1)
    # Keras has counted up the name of the layer.
    train(activation_1)
    with pytest.raises(ValueError, match="activation_1', not .*activation_2'"):
        train(activation_2)


def test_the_plan_that_fit_shows_is_compared(tmp_path):
    def train(**kwargs):
        compiled().fit(
            make_dataset(IMAGES, LABELS, 4, training=True, **kwargs),
            callbacks=[Resume(tmp_path / "state.npz")],
            verbose=0,
        )

    train()
    with pytest.raises(ValueError, match="alternating_flip: False, not True"):
        train(alternating_flip=True)


@pytest.mark.parametrize(
    "dataset", [[(IMAGES, LABELS)], make_dataset(IMAGES, LABELS, 4)]
)
def test_data_without_a_plan(dataset):
    with pytest.raises(TypeError, match="`dataset` must be .*Received"):
        Resume("state.npz", dataset=dataset)


@pytest.mark.parametrize("epochs", [2.0, 2.5])
def test_a_fraction_that_is_done(tmp_path, epochs):
    def train():
        stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=0)
        return compiled().fit(
            make_dataset(IMAGES, LABELS, 4, training=True, seed=0),
            epochs=epochs,
            callbacks=[stop, Resume(tmp_path / "state.npz")],
            verbose=0,
        )

    history = train().history
    assert train().history == history
