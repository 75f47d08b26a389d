"""Continues an interrupted run bit for bit."""

import json
import os
import pathlib
import re
import reprlib
import zlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_davidnet._array_checks import as_array
from keras_davidnet._checks import check_count
from keras_davidnet.datasets.batches import Batches
from keras_davidnet.optimizers.grouped import unwrap

# Keras numbers the names that it makes up, from 0 in every program.
_NUMBER = re.compile(r"_\d+(?=[/_]|$)")


class Resume(keras.callbacks.Callback):
    """Saves the state of training after each epoch; `fit` continues from it.

    A run that was killed and is started again, by the same program, ends with
    the weights and the history of an uninterrupted one: to the bit where two
    runs under one seed are equal to the bit. The epoch in which it was killed
    is repeated.

    The file holds all variables of model and optimizer, as the files of Keras's
    `BackupAndRestore` do; the state of dropout and augmentation, which Keras
    does not save; the number of epochs; and the history, which `fit` returns
    whole. Logs that are not numbers are saved as text. The state of other
    callbacks is not saved, nor, on torch, PyTorch's generator, from which
    Keras's dropout draws there. The file is replaced atomically, so a crash
    never leaves a partial one.

    A run that `EarlyStopping`, or another callback's `stop_training`, ended is
    finished: it continues only if `fit` has a different number of `epochs`.
    Where the best weights are restored, `Resume` comes after that callback.

    The file of another run is rejected. Compared are the classes and configs of
    model and optimizer, without seeds and constant learning rates; the
    precision; every variable; the images and labels; and the plan of the
    dataset. Streams other than `Batches` are not compared, nor is the data of a
    stock model unless `dataset` is given.

    Args:
        path: Path of the file, an `.npz`. Its folder is made if necessary.
            Remove the file to start over.
        dataset: The `Batches` that `fit` trains on, for a stock model or to
            save a seed that was drawn. In epoch `e` of `fit` they show epoch
            `e` of their plan, as with `SyncEpoch`.

    Raises:
        TypeError: If `dataset` has no plan.
        ValueError: When `fit` begins, if the file is damaged or belongs to
            another run, or if an epoch of `fit` is not one of `dataset`.

    Example:

    ```python
    keras.utils.set_random_seed(0)
    model = DavidNet()
    model.compile()
    model.fit(train_ds, epochs=24, callbacks=[Resume("state.npz", train_ds)])
    ```
    """

    def __init__(self, path: str | os.PathLike, dataset: Batches | None = None):
        super().__init__()
        self._plan = getattr(dataset, "plan", None)
        if dataset is not None and self._plan is None:
            raise TypeError(
                "`dataset` must be Batches with a plan, as "
                "make_dataset(..., training=True) makes them. "
                f"Received: dataset={dataset!r}"
            )
        self.path = pathlib.Path(path)
        self.dataset = dataset
        self._data = None

    def on_data(self, x, y):
        """Takes what `fit` trains on; the models of this package call it."""
        self._data = _describe_data(x, y)

    def on_train_begin(self, logs=None):
        steps = self.params["steps"]
        if self.dataset is not None and steps != len(self.dataset):
            raise ValueError(
                "An epoch of `fit` must be one of `dataset`, which has "
                f"{len(self.dataset)} batches: leave out `steps_per_epoch`, "
                f"and fit that dataset. Received: {steps} steps per epoch"
            )
        if self._data is None and self.dataset is not None:
            self.on_data(self.dataset, None)
        self._header, self._history = None, {}
        self._run = self._saved_run = None
        if not self.path.exists():
            return
        header, arrays = _read(self.path)
        self._saved_run = header["run"]
        # A callback that comes after this one may set another decay.
        self._check_run(skip="weight_decay")
        _assign(self._variables(), arrays, self.path)
        self._history = header["history"]
        if self._plan is not None:
            self._plan.seed = header["seed"]
        epochs = self.params["epochs"]
        finished = header.get("stopped_of") == epochs
        # Keras's BackupAndRestore tells `fit` in the same way.
        self.model._initial_epoch = epochs if finished else header["epochs"]

    def on_epoch_begin(self, epoch, logs=None):
        # `fit` has read it; one that is interrupted must not leave it behind.
        self.model._initial_epoch = None
        if self._plan is not None:
            self._plan.epoch = epoch
        if self._run is None:
            self._check_run()
            self._run = self._fingerprint()

    def on_epoch_end(self, epoch, logs=None):
        logs = json.loads(json.dumps(logs or {}, default=_to_json))
        for name, value in logs.items():
            self._history.setdefault(name, []).append(value)
        self._header = {
            "run": self._run,
            "epochs": epoch + 1,
            "history": self._history,
            "seed": self._plan and self._plan.seed,
        }
        _write(self.path, self._header, self._variables())

    def on_train_end(self, logs=None):
        # Callbacks before this one may have restored their best weights.
        if self._header is not None and self.model.stop_training:
            self._header["stopped_of"] = self.params["epochs"]
            _write(self.path, self._header, self._variables())
        self.model._initial_epoch = None
        self.model.history.history = self._history

    def _variables(self):
        optimizer = self.model.optimizer
        # Keras builds a loss scaler twice if told so.
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return self.model.variables + optimizer.variables

    def _fingerprint(self):
        """Fingerprint of the run: a flat dict with dotted keys, for JSON."""
        # Inside a loss scaler or an average of weights.
        *_, optimizer = unwrap(self.model.optimizer)
        return dict(
            _flatten(
                {
                    "model": _describe(self.model),
                    "precision": self.model.dtype_policy.name,
                    "optimizer": _describe(self.model.optimizer),
                    # Callbacks set it, and not every config has it.
                    "weight_decay": getattr(optimizer, "weight_decay", None),
                    "variables": [
                        f"{v.dtype} {tuple(v.shape)} {v.path}"
                        for v in self._variables()
                    ],
                    "data": self._data,
                    "dataset": self._plan
                    and {
                        "images": self._plan.n,
                        "batch_size": self._plan.batch_size,
                        "alternating_flip": self._plan.alternating_flip,
                    },
                }
            )
        )

    def _check_run(self, skip=None):
        if self._saved_run is None:
            return
        saved, current = self._saved_run, self._fingerprint()
        found = [
            f"{key}: {reprlib.repr(saved.get(key))}, "
            f"not {reprlib.repr(current.get(key))}"
            for key in {**saved, **current}
            if saved.get(key) != current.get(key)
            and key.rpartition(".")[2] != skip
        ]
        if found:
            raise ValueError(
                "`path` must hold the state of this model and this run, and "
                f"the one that it holds has {'; '.join(found[:3])}. Remove the "
                f"file to start over. Received: path={str(self.path)!r}"
            )


def _flatten(value, name=""):
    """Yields the dotted name and the value of each leaf."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        is_name = isinstance(value, str)
        yield name, _NUMBER.sub("", value) if is_name else value
        return
    for key, item in items:
        # Some layers draw a seed if they are given none.
        if key == "seed":
            continue
        # Callbacks set constant rates, and `fit` default ones.
        if key == "learning_rate" and (
            isinstance(item, int | float) or _is_default(item)
        ):
            continue
        yield from _flatten(item, f"{name}.{key}" if name else key)


def _is_default(rate):
    return isinstance(rate, dict) and rate["class_name"] == "DefaultSchedule"


def _describe(part):
    name = keras.saving.get_registered_name(type(part))
    try:
        config = keras.saving.serialize_keras_object(part.get_config())
        config = json.loads(json.dumps(config))
    # A subclass need not be able to return its arguments.
    except (NotImplementedError, TypeError, ValueError):
        config = None
    return {"class": name, "config": config}


def _describe_data(x, y):
    """Shape and checksum of images and labels; None for other streams."""
    if isinstance(x, Batches):
        x, y = x.images, x.labels
    if not (hasattr(x, "shape") and hasattr(y, "shape")):
        return None
    checksum = 0
    for array in (x, y):
        array = np.ascontiguousarray(as_array("x", array))
        pixels: Any = array.view("uint8")
        checksum = zlib.crc32(pixels, checksum)
    return {"shape": list(x.shape), "checksum": checksum}


def _to_json(value):
    """Arrays and NumPy's numbers as lists and numbers; the rest as text."""
    if hasattr(value, "shape"):
        return ops.convert_to_numpy(value).tolist()
    return str(value)


def _write(path, header, variables):
    """Replaces the file in one step when the new one is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        np.savez(
            file,
            np.array(json.dumps(header)),
            *map(ops.convert_to_numpy, variables),
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


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
        if not header.keys() >= {"run", "history", "seed"}:
            raise ValueError("its header is not complete")
        return header, arrays
    # A damaged zip file fails in many ways.
    except Exception as error:
        raise ValueError(
            f"`path` must be an undamaged file of Resume: {error}. "
            f"Received: path={str(path)!r}"
        ) from error


def _assign(variables, arrays, path):
    values = [ops.convert_to_numpy(variable) for variable in variables]
    if [(a.shape, a.itemsize) for a in arrays] != [
        (v.shape, v.itemsize) for v in values
    ]:
        raise ValueError(
            "`path` must be an undamaged file of Resume: the number or shape "
            "of its arrays differs from its header. "
            f"Received: path={str(path)!r}"
        )
    for variable, array, value in zip(variables, arrays, values, strict=True):
        # NumPy has no name for bfloat16 and reads it as two bytes.
        variable.assign(array.view(value.dtype))
