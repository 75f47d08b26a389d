"""Training that goes on after a crash as if there had been none."""

import json
import os
import pathlib
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

if TYPE_CHECKING:
    import tensorflow as tf


class Resume(keras.callbacks.Callback):
    """Saves the state of training after each epoch; `fit` goes on from it.

    A training that was killed and is started again, by the same program, ends
    with the weights and the history of one that was not: to the bit where two
    trainings under one seed give the same bits.  What the last epoch had done
    when it was killed is done again.

    Saved are all variables of model and optimizer, which `BackupAndRestore` of
    Keras does likewise; the state of dropout and augmentation, which Keras
    keeps in no file; the number of epochs; and the history, which `fit` returns
    whole.  Of other callbacks nothing is saved; nor is, on torch, the generator
    of PyTorch that Keras's dropout draws from there.  The file is replaced in
    one step when the new one is on the disk: whenever the machine stops, one
    that is whole is there.

    Args:
        path: Of the file, an `.npz`.  Its folder is made if need be.  Remove
            the file to begin anew.
        dataset: The training pipeline, as `make_dataset(..., training=True)`
            gave it; the order of its epochs then goes on, too.

    Raises:
        TypeError: If `dataset` is no such pipeline.
        ValueError: When `fit` begins, if the file is damaged or holds the
            state of another model or optimizer.

    Example:

    ```python
    keras.utils.set_random_seed(0)
    model = DavidNet()
    model.compile()
    model.fit(train_ds, epochs=24, callbacks=[Resume("state.npz", train_ds)])
    ```
    """

    def __init__(
        self,
        path: str | os.PathLike,
        dataset: "tf.data.Dataset | None" = None,
    ):
        super().__init__()
        if dataset is not None and not hasattr(dataset, "order"):
            raise TypeError(
                "`dataset` must be a pipeline that make_dataset(..., "
                "training=True) gave, and be given as it is. "
                f"Received: dataset={dataset!r}"
            )
        self.path = pathlib.Path(path)
        self.dataset = dataset

    def on_train_begin(self, logs=None):
        self._history = {}
        if not self.path.exists():
            return
        state, arrays = self._read()
        for variable, array in zip(self._variables(), arrays, strict=True):
            variable.assign(array)
        self._history = state["history"]
        # As Keras's own BackupAndRestore tells `fit`.
        self.model._initial_epoch = state["epochs"]
        if self.dataset is not None and "order" in state:
            self.dataset.order.seed, self.dataset.order.epoch = state["order"]

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(value)
        state = {"epochs": epoch + 1, "history": self._history}
        if self.dataset is not None:
            order = self.dataset.order
            state["order"] = [order.seed, order.epoch]
        self._write(state)

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None
        self.model.history.history = self._history

    def _variables(self):
        optimizer = self.model.optimizer
        # Keras builds a loss scaler twice if told so.
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return self.model.variables + optimizer.variables

    def _write(self, state):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".unfinished")
        with open(unfinished, "wb") as file:
            np.savez(
                file,
                np.array(json.dumps(state)),
                *map(ops.convert_to_numpy, self._variables()),
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.path)

    def _read(self):
        try:
            with (
                open(self.path, "rb") as opened,
                np.load(opened, allow_pickle=False) as file,
            ):
                head, *arrays = (file[f"arr_{i}"] for i in range(len(file)))
            state = json.loads(head.item())
        # A damaged zip file fails in many ways.
        except Exception as error:
            raise ValueError(
                f"`path` must be a file that Resume wrote, unharmed: {error}. "
                f"Received: path={str(self.path)!r}"
            ) from error
        variables = self._variables()
        ours = [tuple(variable.shape) for variable in variables]
        theirs = [array.shape for array in arrays]
        if ours != theirs:
            raise ValueError(
                "`path` must hold the state of this model and optimizer, "
                f"arrays of shapes {ours}. "
                f"Received: path={str(self.path)!r}, with shapes {theirs}"
            )
        # NumPy has no name for bfloat16 and reads it as two bytes.
        arrays = [
            array.view(ops.convert_to_numpy(variable).dtype)
            for variable, array in zip(variables, arrays, strict=True)
        ]
        return state, arrays
