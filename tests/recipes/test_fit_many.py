"""Many runs in a folder: each is the run alone."""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import train_many
from train_many import SEEDS, N

from keras_davidnet import recipes

X, Y = train_many.data()
FIT = {"seeds": SEEDS, "subsets": 0.5, "verbose": 0}


@pytest.fixture(scope="module")
def recipe():
    return train_many.recipe()


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "half"
    recipe.fit_many(X, Y, folder=folder, **FIT)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    return recipes.Runs(folder, SEEDS)


@pytest.fixture(scope="module")
def alone(recipe, runs):
    return [
        recipe.fit(X, Y, seed=seed, subset=mask, verbose=0)
        for seed, mask in zip(SEEDS, runs.masks, strict=True)
    ]


def assert_same(net, expected):
    for one, other in zip(net.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(
            *map(keras.ops.convert_to_numpy, (one, other))
        )


@pytest.mark.slow
def test_each_run_is_the_run_alone(runs, alone):
    assert len(runs) == 2 and runs.seeds == [*SEEDS]
    for net, history, expected in zip(runs, runs.histories, alone, strict=True):
        assert_same(net, expected)
        assert net.views == expected.views == "mirror"
        seconds = history.pop("seconds")
        assert len(seconds) == 3 and min(seconds) > 0
        assert history == expected.history.history


@pytest.mark.slow
def test_without_subsets(recipe, tmp_path):
    short = recipe.replace(epochs=1)
    fit = {"seeds": [0], "folder": tmp_path, "verbose": 0}
    runs = short.fit_many(X, Y, **fit)
    assert runs.masks.all() and runs.masks.shape == (1, N)
    assert_same(runs[0], short.fit(X, Y, seed=0, verbose=0))


@pytest.mark.slow
def test_masks(runs):
    assert runs.masks.dtype == bool
    assert runs.masks.sum(1).tolist() == [N // 2] * 2
    assert (runs.masks[0] != runs.masks[1]).any()


@pytest.mark.slow
def test_scores_match_numpy(runs, alone):
    views = [X, X[:, :, ::-1]]
    logits = np.array(
        [
            np.mean(
                [keras.ops.convert_to_numpy(net(v)) for v in views],
                axis=0,
                dtype="float64",
            )
            for net in map(without_views, alone)
        ]
    )
    np.testing.assert_allclose(runs.predict(X), logits, rtol=1e-4, atol=1e-5)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = p[:, np.arange(N), Y]
    np.testing.assert_allclose(
        runs.margins(X, Y[:, None]),
        np.log(own / (1 - own)),
        rtol=1e-3,
        atol=1e-4,
    )
    np.testing.assert_allclose(
        runs.ensemble(X), p.mean(0), rtol=1e-4, atol=1e-6
    )
    accuracy = (logits.argmax(-1) == Y).mean(1)
    np.testing.assert_array_equal(runs.accuracy(X, Y), accuracy)
    plain = keras.ops.convert_to_numpy(without_views(alone[1])(X))
    np.testing.assert_allclose(
        runs.predict(X, None)[1], plain, rtol=1e-4, atol=1e-5
    )


def without_views(net):
    copy = type(net).from_config({**net.get_config(), "views": None})
    copy.set_weights(net.get_weights())
    return copy


@pytest.mark.slow
def test_summary(runs):
    pytest.importorskip("scipy")
    summary = runs.summary(X, Y, gate=0.2)
    assert summary["mean"] == pytest.approx(runs.accuracy(X, Y).mean())
    assert summary["n"] == 2 and summary["gate"] == 0.2


@pytest.mark.slow
def test_predictions_are_computed_once(runs, monkeypatch):
    before = runs.predict(X[:7])
    assert isinstance(before, np.memmap) and before.dtype == "float32"
    (path,) = {pathlib.Path(before.filename)}
    calls = []
    monkeypatch.setattr(
        type(runs[0]), "predict", lambda *_, **__: calls.append(1) or rows
    )
    np.testing.assert_array_equal(
        recipes.Runs(runs.folder, np.array(SEEDS)).predict(X[:7]), before
    )
    assert not calls
    # One that was interrupted goes on at the run where it was.
    rows = np.array(before[1])
    unfinished = np.array(before)
    unfinished[1, 3:] = np.nan
    np.save(path.with_name(f"unfinished-{path.name}"), unfinished)
    path.unlink()
    np.testing.assert_array_equal(runs.predict(X[:7]), before)
    assert len(calls) == 1


@pytest.mark.slow
def test_more_seeds_and_no_run_twice(recipe, runs, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(runs.folder, folder)
    before = (folder / "seed-5" / "net.keras").stat().st_mtime_ns
    more = recipe.fit_many(
        X, Y, seeds=[2, 7], subsets=0.5, folder=folder, verbose=0
    )
    assert more.seeds == [2, 7]
    assert recipes.Runs(folder).seeds == [2, 5, 7]
    assert_same(more[0], runs[1])
    assert (folder / "seed-5" / "net.keras").stat().st_mtime_ns == before


@pytest.mark.slow
def test_half_precision(recipe, runs, tmp_path):
    halves = recipe.fit_many(
        X,
        Y,
        folder=tmp_path,
        half_precision=True,
        **{**FIT, "seeds": SEEDS[:1]},
    )
    net, expected = halves[0], runs[0]
    assert net.dtype_policy.name == "float32"
    for one, other in zip(net.weights, expected.weights, strict=True):
        one, other = map(keras.ops.convert_to_numpy, (one, other))
        assert one.dtype == other.dtype
        if other.dtype == "float32":
            other = other.astype("float16")
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(
        halves.predict(X)[0], net.predict(X, verbose=0), rtol=1e-5
    )


def test_progress(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recipes.Recipe, "fit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recipe.fit_many(X, Y, seeds=[3, 4], folder=tmp_path)
    assert capsys.readouterr().out == "Run 1/2, seed 3\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"seeds": [1, 1]}, "different numbers.*Received: seeds="),
        ({"seeds": []}, "different numbers.*Received: seeds="),
        ({"seeds": [-1]}, "Received: seeds=-1"),
        ({"subsets": 1.5}, "Received: subsets=1.5"),
        ({"subsets": np.ones((1, N), bool)}, rf"\(2, {N}\).*\(1, {N}\)"),
        ({"subsets": np.ones((2, N))}, "booleans of shape.*float64"),
        ({"subsets": 0.1}, "6 images, batch_size=14"),
        ({"subsets": np.stack([Y != 1] * 2)}, r"without the labels \[1\]"),
        ({"y": Y + 1}, "Labels must be integers in 0..2"),
        ({"x": X / 255}, "raw images"),
        ({"threads": 1}, "workers that are processes.*Received: threads=1"),
    ],
)
def test_bad_arguments(recipe, tmp_path, arguments, message):
    arguments = {"x": X, "y": Y, "seeds": [0, 1], **arguments}
    folder = tmp_path / "runs"
    with pytest.raises(ValueError, match=message):
        recipe.fit_many(**arguments, folder=folder)
    assert not folder.exists()


def test_a_net_that_cannot_be_kept(recipe, tmp_path):
    class Shift(keras.layers.Layer):
        def call(self, images):
            return images + 1

    recipe = recipe.replace(augmentation=Shift())
    with pytest.raises(TypeError, match="Shift"):
        recipe.fit_many(X, Y, seeds=[0], folder=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_schedule_without_a_config(recipe, tmp_path):
    class Constant(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

    recipe = recipe.replace(
        make_optimizer=lambda **_: keras.optimizers.SGD(Constant())
    ).replace(optimizer_arguments={})
    with pytest.raises(ValueError, match="`get_config`.*Received: SGD"):
        recipe.fit_many(X, Y, seeds=[0], folder=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_workers_that_are_forked(recipe, tmp_path):
    context = multiprocessing.get_context("fork")
    executor = concurrent.futures.ProcessPoolExecutor(1, context)
    with pytest.raises(ValueError, match="spawn.*Received: executor="):
        recipe.fit_many(
            X, Y, seeds=[0], folder=tmp_path / "runs", executor=executor
        )


@pytest.mark.slow
def test_other_folders_and_runs_trained_again(recipe, folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "runs")
    shutil.copytree(folder / "seed-2", folder / "seed-2 copy")
    runs = recipes.Runs(folder)
    assert runs.seeds == [2, 5]
    before = runs.predict(X)
    shutil.rmtree(folder / "seed-2")
    recipe.fit_many(X, Y, folder=folder, seeds=[2], subsets=0.5, verbose=0)
    # Another net, as after a change in its code.
    net = runs[0]
    net.set_weights([np.zeros(weight.shape) for weight in net.weights])
    net.save(folder / "seed-2/net.keras")
    after = recipes.Runs(folder).predict(X)
    np.testing.assert_array_equal(after[1], before[1])
    assert not after[0].any()


@pytest.mark.slow
def test_the_programs_precision(recipe, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        runs = recipe.replace(epochs=1).fit_many(
            X, Y, seeds=[0], folder=tmp_path, verbose=0
        )
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert runs[0].dtype_policy.name == "mixed_bfloat16"


@pytest.mark.slow
def test_threads_that_draw_random_numbers(recipe, tmp_path):
    short = recipe.replace(epochs=1)
    done = threading.Event()

    def draw():
        while not done.wait(1e-3):
            random.random()

    thread = threading.Thread(target=draw)
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        thread.start()
        try:
            runs = short.fit_many(
                X, Y, seeds=SEEDS, folder=tmp_path, executor=executor, verbose=0
            )
        finally:
            done.set()
            thread.join()
    for seed, net in zip(SEEDS, runs, strict=True):
        assert_same(net, short.fit(X, Y, seed=seed, verbose=0))


def test_shut_down_executor(recipe, tmp_path):
    executor = concurrent.futures.ThreadPoolExecutor()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        recipe.fit_many(X, Y, seeds=[0], folder=tmp_path, executor=executor)


def test_folder_of_something_else(recipe, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds something else"):
        recipe.fit_many(X, Y, seeds=[0], folder=tmp_path)
    with pytest.raises(ValueError, match="a finished run"):
        recipes.Runs(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 4}, "epochs: 3, not 4"),
        ({"filters_momentum": 0.1}, r"momentum: 0.6, not 0.1"),
        ({"widths": (2, 2, 3)}, r"model.config.widths.2: 2, not 3"),
        ({"alternating_flip": False}, "alternating_flip: True, not False"),
        ({}, "data: "),
    ],
)
@pytest.mark.slow
def test_folder_of_other_runs(recipe, folder, change, message):
    y = Y if change else np.roll(Y, 1)
    with pytest.raises(ValueError, match=f"{message}.*Received: folder="):
        recipe.replace(**change).fit_many(X, y, folder=folder, **FIT)


@pytest.mark.slow
def test_seeds_that_layers_draw_are_not_compared(recipe, tmp_path):
    def fit(seed):
        # A layer of Keras draws one when a program makes it.
        crop = keras.layers.RandomCrop(9, 9, seed=seed)
        short = recipe.replace(epochs=1, augmentation=crop)
        runs = short.fit_many(X, Y, seeds=[0], folder=tmp_path, verbose=0)
        return runs.predict(X[:2])

    np.testing.assert_array_equal(fit(1), fit(2))


@pytest.mark.slow
def test_other_subsets(recipe, folder):
    with pytest.raises(ValueError, match="seed 5 on another subset"):
        recipe.fit_many(X, Y, folder=folder, seeds=SEEDS, subsets=0.6)


PROGRAM = pathlib.Path(train_many.__file__)


@pytest.mark.slow
def test_killed_runs_end_as_if_they_had_not_been(tmp_path):
    command = [sys.executable, PROGRAM, tmp_path]
    process = subprocess.Popen(command)
    state = tmp_path / "seed-2" / "state.npz"
    while not state.exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    assert state.exists() and (tmp_path / "seed-5" / "run.json").exists()
    subprocess.run(command, check=True)
    assert not state.exists()
    runs, recipe = recipes.Runs(tmp_path, SEEDS), train_many.recipe(epochs=12)
    expected = recipe.fit(X, Y, seed=2, subset=runs.masks[1], verbose=0)
    assert_same(runs[1], expected)
    assert runs.histories[1]["loss"] == expected.history.history["loss"]


@pytest.mark.slow
def test_killed_when_trained_but_not_kept(tmp_path, monkeypatch):
    # The net has its averages when `fit` ends, after the last state is saved.
    recipe = recipes.get("airbench94").replace(
        widths=(2, 2, 2),
        num_classes=3,
        input_shape=(9, 9, 3),
        batch_size=14,
        epochs=2,
    )
    fit = {"seeds": [0], "folder": tmp_path, "verbose": 0}
    with monkeypatch.context() as patch:
        patch.setattr(type(recipe.model()), "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recipe.fit_many(X, Y, **fit)
    runs = recipe.fit_many(X, Y, **fit)
    assert_same(runs[0], recipe.fit(X, Y, seed=0, verbose=0))


def pool():
    return concurrent.futures.ProcessPoolExecutor(
        2, mp_context=multiprocessing.get_context("spawn")
    )


@pytest.mark.slow
@pytest.mark.parametrize("threads", [None, 1])
def test_workers(recipe, runs, tmp_path, threads):
    with pool() as executor:
        found = recipe.fit_many(
            X, Y, folder=tmp_path, executor=executor, threads=threads, **FIT
        )
    for one, other in zip(found, runs, strict=True):
        if threads is None:
            assert_same(one, other)
        # Sums in another order are rounded otherwise.
        for value, expected in zip(
            one.get_weights(), other.get_weights(), strict=True
        ):
            np.testing.assert_allclose(value, expected, rtol=1e-2, atol=1e-4)


class DyingRecipe(recipes.Recipe):
    """Its worker dies in the middle of the run of seed 5, once."""

    def fit(self, *args, seed, callbacks, **kwargs):
        path = pathlib.Path(callbacks[-1].path)
        if seed == 5 and not path.exists():
            die = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, _: (
                    epoch and os.kill(os.getpid(), signal.SIGKILL)
                )
            )
            callbacks = [die, *callbacks]
        return super().fit(*args, seed=seed, callbacks=callbacks, **kwargs)


@pytest.mark.slow
def test_a_worker_that_dies(recipe, runs, tmp_path):
    dying = DyingRecipe(**vars(recipe))
    fit = {"folder": tmp_path, **FIT}
    with pool() as executor:
        with pytest.raises(RuntimeError, match="call fit_many.. again"):
            dying.fit_many(X, Y, executor=executor, **fit)
    assert (tmp_path / "seed-5" / "state.npz").exists()
    with pool() as executor:
        found = dying.fit_many(X, Y, executor=executor, **fit)
    for one, other in zip(found, runs, strict=True):
        assert_same(one, other)


@pytest.mark.slow
def test_a_worker_with_another_precision(recipe, tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    try:
        with pool() as executor, pytest.raises(RuntimeError) as error:
            recipe.fit_many(
                X, Y, seeds=[0], folder=tmp_path, executor=executor, verbose=0
            )
    finally:
        keras.config.set_dtype_policy("float32")
    assert "bfloat16" in str(error.value.__cause__)


@pytest.mark.slow
@pytest.mark.extra
def test_dask(recipe, runs, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = recipe.fit_many(
            X,
            Y,
            folder=tmp_path,
            executor=client.get_executor(),
            **FIT,
        )
    for one, other in zip(found, runs, strict=True):
        assert_same(one, other)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["backend"] == keras.backend.backend()
