"""Continues an interrupted run bit for bit."""

import json
import math
import os
import pathlib
import zlib
from typing import Any

import numpy as np
from keras import ops

from keras_davidnet._array_checks import as_array
from keras_davidnet._checks import check_count
from keras_davidnet._files import atomic_write
from keras_davidnet._settings import class_and_config, differences, flatten
from keras_davidnet.callbacks.example_log import ExampleLog
from keras_davidnet.callbacks.fit_hooks import FitHooks
from keras_davidnet.datasets.batches import Batches, plan_of
from keras_davidnet.optimizers.leaves import variables_of


class Resume(FitHooks):
    """Saves the state of training after each epoch; `fit` continues from it.

    A run that was killed and is started again, by the same program, ends with
    the weights and the history of an uninterrupted one, bit for bit if two runs
    with one seed are equal. The epoch in which it was killed is repeated.

    The file, replaced atomically, holds the variables of model and optimizer,
    the state of dropout and augmentation included, the history, which `fit`
    returns whole, and the logs of `ExampleLog`. It does not hold the state of
    other callbacks nor, on torch, PyTorch's generator, from which Keras's
    dropout draws there.

    A run that another callback stopped, such as `EarlyStopping`, continues only
    if `fit` has a different number of `epochs`. `Resume` comes after a callback
    that restores the best weights.

    A file of another run raises an error. `Resume` compares the model and the
    optimizer, except their seeds and constant learning rates; images, labels,
    subset and the order of the data; and the seed that `make_dataset` or
    `Recipe.fit` was given. It cannot compare data that are neither arrays nor
    `Batches`, nor those of a stock Keras model without `dataset`.

    Args:
        path: Path of the file, an `.npz`. Its folder is made if necessary.
            Remove the file to start over.
        dataset: The `Batches` that `fit` trains on, for a stock model. In epoch
            `e` of `fit` they show epoch `e` of their plan, as with `SyncEpoch`.

    Raises:
        TypeError: If `dataset` has no plan.
        ValueError: When `fit` begins, if the file is damaged or belongs to
            another run, or if `fit` and `dataset` have different numbers of
            steps per epoch.

    Example:

    ```python
    keras.utils.set_random_seed(0)
    model = DavidNet()
    model.compile()
    model.fit(train_ds, epochs=24, callbacks=[Resume("state.npz")])
    ```
    """

    def __init__(self, path: str | os.PathLike, dataset: Batches | None = None):
        super().__init__()
        self.path = pathlib.Path(path)
        self.dataset = dataset
        self._plan = None if dataset is None else plan_of("dataset", dataset)
        self._data = None
        self._example_logs: list[Any] = []

    def on_data(self, x, y, callbacks=()):
        self._data = _checksum(x, y)
        if self.dataset is None:
            self._plan = getattr(x, "plan", None)
        self._example_logs = [
            one for one in callbacks if isinstance(one, ExampleLog)
        ]

    def on_train_begin(self, logs=None):
        steps, epochs = self.params["steps"], self.epochs
        if self.dataset is not None:
            if steps != len(self.dataset):
                raise ValueError(
                    "An epoch of `fit` must be one of `dataset`, which has "
                    f"{len(self.dataset)} batches: leave out `steps_per_epoch`,"
                    f" and fit that dataset. Received: {steps} steps per epoch"
                )
            if self._data is None:
                self.on_data(self.dataset, None)
        self._state: dict[str, Any] = {"history": {}}
        self._is_whole = False
        if not self.path.exists():
            self._check_run()
            return
        self._state, arrays = _read(self.path)
        self._check_run()
        variables = variables_of(self.model)
        for log in self._example_logs:
            log.set_state(arrays.pop())
        for variable, array in zip(variables, arrays, strict=True):
            # NumPy has no name for bfloat16 and reads it as two bytes.
            dtype = ops.convert_to_numpy(variable).dtype
            variable.assign(array.view(dtype))
        if self._plan is not None:
            self._plan.seed = self._state["seed"]
        first = self._state["epochs"]
        if self._state.pop("stopped_of", None) == epochs:
            first = math.ceil(epochs)
        # Keras's BackupAndRestore tells `fit` in the same way.
        self.model._initial_epoch = first

    def on_epoch_begin(self, epoch, logs=None):
        # `fit` has read it; one that is interrupted must not leave it behind.
        self.model._initial_epoch = None
        if self._plan is not None:
            self._plan.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        logs = json.loads(json.dumps(logs or {}, default=_to_json))
        for name, value in logs.items():
            self._state["history"].setdefault(name, []).append(value)
        # A part of an epoch, which `fit` may end with, is repeated.
        self._is_whole = epoch + 1 <= self.epochs
        if self._is_whole:
            self._state["epochs"] = epoch + 1
            self._state["seed"] = self._plan and self._plan.seed
            self._save()

    def on_train_end(self, logs=None):
        # Callbacks before this one may have restored their best weights.
        if self._is_whole and self.model.stop_training:
            self._state["stopped_of"] = self.epochs
            self._save()
        self.model._initial_epoch = None
        self.model.history.history = self._state["history"]

    def _save(self):
        """Replaces the file in one step when the new one is on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        arrays = [ops.convert_to_numpy(v) for v in variables_of(self.model)]
        arrays += [log.get_state() for log in self._example_logs[::-1]]
        with (
            atomic_write(self.path) as unfinished,
            open(unfinished, "wb") as file,
        ):
            np.savez(file, np.array(json.dumps(self._state)), *arrays)

    def _check_run(self):
        """Raises a ValueError if the file is of another run."""
        model, plan = self.model, self._plan
        run = {
            "model": class_and_config(model),
            "optimizer": class_and_config(model.optimizer),
            "variables": [
                f"{v.dtype} {tuple(v.shape)} {v.path}"
                for v in variables_of(self.model)
            ],
            "data": self._data,
            # None, as files without it have.
            "example_logs": len(self._example_logs) or None,
            "dataset": plan
            and {
                "images": plan.n,
                "batch_size": plan.batch_size,
                "alternating_flip": plan.alternating_flip,
            },
        }
        run = dict(flatten(run, _may_change))
        saved = self._state.setdefault("run", run)
        found = differences(saved, run)
        # A seed that was drawn is taken from the file.
        if plan is not None and not plan.drawn:
            seed = self._state.get("seed", plan.seed)
            found += differences({"seed": seed}, {"seed": plan.seed})
        if found:
            raise ValueError(
                "`path` must hold the state of this model and this run, and "
                f"the one that it holds has {'; '.join(found[:3])}. Remove the "
                f"file to start over. Received: path={str(self.path)!r}"
            )


def _may_change(key, item):
    """Whether a run may go on with another value."""
    # Callbacks set constant rates, and `fit` default ones.
    return key == "learning_rate" and (
        not isinstance(item, dict) or item["class_name"] == "DefaultSchedule"
    )


def _checksum(x, y):
    """Checksum of all that a run is trained on; None for other streams."""
    parts = [x, y]
    if isinstance(x, Batches):
        subset = x.plan and x.plan.subset
        others = [a for a in (subset, x.sample_weight) if a is not None]
        parts = [x.images, x.labels, *others]
    if not all(hasattr(part, "shape") for part in parts):
        return None
    checksum = 0
    for part in parts:
        array = np.ascontiguousarray(as_array("x", part))
        checksum = zlib.crc32(array.view("uint8").data, checksum)
    return checksum


def _to_json(value):
    """Arrays and NumPy's numbers as lists and numbers; the rest as text."""
    if hasattr(value, "shape"):
        return ops.convert_to_numpy(value).tolist()
    return str(value)


def _read(path):
    """The header and the arrays of a file."""
    try:
        # NumPy leaves a damaged file open that it opened.
        with (
            open(path, "rb") as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            header, *arrays = file.values()
        header = json.loads(header.item())
        check_count("epochs", header["epochs"])
        return header, arrays
    # A damaged zip file fails in many ways.
    except Exception as error:
        raise ValueError(
            f"`path` must be an undamaged file of Resume: {error}. "
            f"Received: path={str(path)!r}"
        ) from error
