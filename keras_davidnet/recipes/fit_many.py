"""Many runs of one recipe into a folder; see `Recipe.fit_many`."""

import concurrent.futures
import datetime
import gc
import importlib
import json
import os
import pathlib
import random
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

import keras
import numpy as np

from keras_davidnet import _backend
from keras_davidnet._array_checks import (
    as_array,
    check_classes,
    check_labels,
    describe,
)
from keras_davidnet._checks import check_count, check_number
from keras_davidnet._files import atomic_write
from keras_davidnet._settings import class_and_config, differences, flatten
from keras_davidnet.callbacks import Resume
from keras_davidnet.datasets import EpochPlan
from keras_davidnet.recipes.runs import (
    RESULT,
    Runs,
    digest,
    read_mask,
    run_folder,
)

if TYPE_CHECKING:
    from keras_davidnet.recipes.recipe import Recipe

# "half" in ASCII: no epoch has that number, so the subsets are independent of
# every order.
_SUBSET = 0x68616C66
# A run seeds what all threads of a process share.
_RUN_LOCK = threading.Lock()


def fit_many(
    recipe: "Recipe",
    x: np.ndarray,
    y: np.ndarray,
    *,
    seeds: Iterable[int],
    folder: str | os.PathLike,
    subsets: float | Sequence | np.ndarray | None,
    executor: concurrent.futures.Executor | None,
    threads: int | None,
    half_precision: bool,
    verbose: str | int,
) -> Runs:
    # A worker may have another current folder.
    folder = pathlib.Path(folder).resolve()
    seeds = _check_seeds(seeds)
    if threads is not None and (
        executor is None
        or isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    ):
        raise ValueError(
            "`threads` is for workers that are processes of their own. "
            f"Received: threads={threads}, executor={executor}"
        )
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "A process that is forked inherits the threads' locks and may wait "
            "for ever: give the executor "
            'mp_context=multiprocessing.get_context("spawn"). '
            f"Received: executor={executor}"
        )
    x, y = as_array("x", x), as_array("y", y)
    settings = _settings(recipe, x, y)
    masks = _masks(subsets, seeds, len(x))
    for seed, mask in zip(seeds, masks, strict=True):
        EpochPlan(len(x), recipe.batch_size, seed, subset=mask)
        check_classes(y, mask)
    _check_folder(folder, settings)
    for seed, mask in zip(seeds, masks, strict=True):
        _keep_mask(folder, seed, mask)
    to_train = [
        s for s in seeds if not (run_folder(folder, s) / RESULT).exists()
    ]
    if executor is None:
        begin = time.perf_counter()
        for done, seed in enumerate(to_train):
            if verbose:
                _announce(seeds, seed, done, len(to_train), begin)
            _train(recipe, x, y, folder, seed, half_precision, verbose)
    elif to_train:
        for name, array in (("x", x), ("y", y)):
            path = folder / f"{name}.npy"
            if not path.exists():
                with atomic_write(path) as unfinished:
                    np.save(unfinished, array)
        work = recipe, folder, threads, half_precision
        futures = {
            executor.submit(_train_in_worker, *work, seed): seed
            for seed in to_train
        }
        _wait(futures, verbose)
    return Runs(folder, seeds)


def _train(recipe, x, y, folder, seed, half_precision, verbose):
    """Trains one net, and keeps it and its history."""
    # The last net is part of a cycle.
    gc.collect()
    path = run_folder(folder, seed)
    state = path / "state.npz"
    model = recipe.fit(
        x,
        y,
        seed=seed,
        subset=read_mask(folder, seed),
        callbacks=[_Seconds(), Resume(state)],
        verbose=verbose,
    )
    # Without the optimizer, which takes as much space.
    changes = {"dtype": "float16"} if half_precision else {}
    net = model.copy_with(**changes)
    with atomic_write(path / "net.keras") as unfinished:
        net.save(unfinished)
    _write_json(
        path / RESULT,
        {
            "seed": seed,
            "history": model.history.history,
            "dtype": model.dtype_policy.name,
            "versions": _versions(),
        },
    )
    state.unlink()


def _train_in_worker(recipe, folder, threads, half_precision, seed):
    """`_train` in a worker, on the arrays in the folder."""
    # Keras draws its seeds by `random.randint`, and the threads by which a
    # worker of Dask tells that it is alive draw from the same numbers.
    own = random.Random()
    with (
        _RUN_LOCK,
        mock.patch.multiple(random, seed=own.seed, randint=own.randint),
    ):
        if threads is not None:
            _backend.set_threads(threads)
        x, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy")
        # What is set in the program that called `fit_many`, as the precision,
        # is not set here.
        _check_folder(folder, _settings(recipe, x, y))
        _train(recipe, x, y, folder, seed, half_precision, verbose=0)


def _wait(futures, verbose):
    """Waits for all runs; raises an error if some failed."""
    errors = {}
    progress = keras.utils.Progbar(
        len(futures), verbose=int(bool(verbose)), unit_name="run"
    )
    try:
        for future in concurrent.futures.as_completed(futures):
            if error := future.exception():
                errors[futures[future]] = error
            progress.add(1)
    finally:
        for future in futures:
            future.cancel()
    if errors:
        raise RuntimeError(
            f"{len(errors)} of {len(futures)} runs failed, those of the seeds "
            f"{sorted(errors)}: call fit_many() again, with a new executor if "
            "a worker has died, to continue them"
        ) from next(iter(errors.values()))


class _Seconds(keras.callbacks.Callback):
    """Adds the seconds of each epoch to its logs, which `Resume` keeps."""

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs: Any = None):
        logs["seconds"] = time.perf_counter() - self.begin


def _announce(seeds, seed, done, count, begin):
    text = f"Run {seeds.index(seed) + 1}/{len(seeds)}, seed {seed}"
    if done:
        seconds = (time.perf_counter() - begin) / done * (count - done)
        text += f", {datetime.timedelta(seconds=round(seconds))} left"
    print(text, flush=True)


def _settings(recipe, x, y):
    """What makes two runs of one seed and subset the same."""
    # Some layers draw seeds, which are in their config.
    keras.utils.set_random_seed(0)
    model = recipe.model()
    # An error that would come when a trained net is loaded.
    keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(model)
    )
    model.check_arrays("x", x)
    check_labels("y", y, x, model.num_classes)
    optimizer = class_and_config(
        recipe.optimizer(max(1, len(x) // recipe.batch_size))
    )
    if optimizer["config"] is None:
        raise ValueError(
            "An optimizer, and its schedule, must have a `get_config`, by "
            "which the runs of a folder are compared. Received: "
            f"{optimizer['class']} without"
        )
    settings = {
        "backend": keras.backend.backend(),
        "batch_size": recipe.batch_size,
        "epochs": recipe.epochs,
        "alternating_flip": recipe.alternating_flip,
        "image_sizes": recipe.image_sizes and dict(recipe.image_sizes),
        "model": class_and_config(model),
        "optimizer": optimizer,
        "data": digest(x, y),
    }
    return json.loads(json.dumps(settings))


def _check_folder(folder, settings):
    """Raises a ValueError if the folder holds anything but such runs."""
    path = folder / "settings.json"
    if path.exists():
        saved = json.loads(path.read_text())
        found = differences(*(dict(flatten(s)) for s in (saved, settings)))
        if found:
            raise ValueError(
                "`folder` must be new or hold runs of this recipe and these "
                "data, and the ones that it holds have "
                f"{'; '.join(found[:3])}. "
                f"Received: folder={str(folder)!r}"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(
            "`folder` must be new, empty, or one of fit_many(). "
            f"Received: folder={str(folder)!r}, which holds something else"
        )
    _write_json(path, settings)


def _keep_mask(folder, seed, mask):
    path = run_folder(folder, seed) / "mask.npy"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as unfinished:
            np.save(unfinished, mask)
    elif not np.array_equal(np.load(path), mask):
        raise ValueError(
            f"`folder` holds the run of seed {seed} on another subset. "
            f"Received: folder={str(folder)!r}"
        )


def _check_seeds(seeds):
    seeds = [check_count("seeds", seed, 0) for seed in seeds]
    if not seeds or len({*seeds}) < len(seeds):
        raise ValueError(
            "`seeds` must be different numbers, one for each run. "
            f"Received: seeds={seeds}"
        )
    return seeds


def _masks(subsets, seeds, n):
    if subsets is None:
        return np.ones((len(seeds), n), bool)
    if not hasattr(subsets, "__len__"):
        count = round(n * check_number("subsets", subsets, gt=0, lt=1))
        return [
            np.random.default_rng((seed, _SUBSET)).permutation(n) < count
            for seed in seeds
        ]
    masks = np.asarray(subsets)
    if masks.dtype != bool or masks.shape != (len(seeds), n):
        raise ValueError(
            "`subsets` must be None, a fraction, or booleans of shape (runs, "
            f"n), here ({len(seeds)}, {n}). "
            f"Received: {describe('subsets', masks)}"
        )
    return masks


def _versions():
    names = "keras_davidnet", "keras", "numpy", keras.backend.backend()
    return {name: importlib.import_module(name).__version__ for name in names}


def _write_json(path, content):
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1))
