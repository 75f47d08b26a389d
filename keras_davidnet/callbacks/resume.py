"""Continues an interrupted run bit for bit."""

import os
import pathlib

import keras
from keras import ops

from keras_davidnet.callbacks.run import (
    describe_data,
    describe_run,
    differences,
)
from keras_davidnet.callbacks.state_file import (
    read_arrays,
    read_state,
    write_state,
)
from keras_davidnet.datasets.batches import Batches


class Resume(keras.callbacks.Callback):
    """Saves the state of training after each epoch; `fit` continues from it.

    A run that was killed and is started again, by the same program, ends with
    the weights and the history of one that was not: to the bit where two runs
    under one seed give the same bits.  The epoch in which it was
    killed is repeated.

    The file holds all variables of model and optimizer, as that of Keras's
    `BackupAndRestore`; the state of dropout and augmentation, which Keras does
    not save; the number of epochs; and the history, which `fit` returns whole.
    The state of other callbacks is not saved, nor, on torch, PyTorch's
    generator, from which Keras's dropout draws there.  The file is replaced
    atomically, so a crash never leaves a partial one.

    A run that `EarlyStopping`, or another callback's `stop_training`, ended is
    finished: it continues only if `fit` has a different number of `epochs`.
    Where the best weights are restored, `Resume` comes after that callback.

    The file names the run that it belongs to: the classes and configs of model
    and optimizer, without seeds and the value of the learning rate, the
    precision, every variable, the images and labels, and the plan of the
    dataset.  Other streams than those of `make_dataset` are not compared, nor
    data that a model of another package is fitted on without `dataset`.

    Args:
        path: Path of the file, an `.npz`.  Its folder is made if need be.
            Remove the file to begin anew.
        dataset: What `fit` trains on, as `make_dataset(..., training=True)`
            gave it or as its `map` or `share`.  In epoch `e` of `fit` it then
            shows epoch `e` of its plan, whatever the model.

    Raises:
        TypeError: If `dataset` is not such a dataset.
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
        if dataset is not None and (
            not isinstance(dataset, Batches) or dataset.plan is None
        ):
            raise TypeError(
                "`dataset` must be what make_dataset(..., training=True) "
                f"gave. Received: dataset={dataset!r}"
            )
        self.path = pathlib.Path(path)
        self.dataset = dataset
        self._plan = None if dataset is None else dataset.plan
        self._data = None

    def on_data(self, x, y):
        """Tells what `fit` trains on, as the models of this package do."""
        self._data = describe_data(x, y)

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
        self._state, self._history = None, {}
        self._run, self._theirs = None, None
        if not self.path.exists():
            return
        state = read_state(self.path)
        self._theirs = state["run"]
        # A callback that comes after this one may set another decay.
        self._check_run(but="weight_decay")
        variables = self._variables()
        arrays = read_arrays(self.path, variables)
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        self._history = state["history"]
        if self._plan is not None:
            self._plan.seed = state["seed"]
        # As Keras's own BackupAndRestore tells `fit`.
        epochs = self.params["epochs"]
        over = state.get("stopped_of") == epochs
        self.model._initial_epoch = epochs if over else state["epochs"]

    def on_epoch_begin(self, epoch, logs=None):
        # `fit` has read it; one that is interrupted must not leave it behind.
        self.model._initial_epoch = None
        if self._plan is not None:
            self._plan.epoch = epoch
        if self._run is None:
            self._check_run()
            self._run = self._describe_run()

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            # JSON knows no arrays and no numbers of NumPy's.
            value = ops.convert_to_numpy(value).tolist()
            self._history.setdefault(name, []).append(value)
        self._state = {
            "run": self._run,
            "epochs": epoch + 1,
            "history": self._history,
        }
        if self._plan is not None:
            self._state["seed"] = self._plan.seed
        write_state(self.path, self._state, self._variables())

    def on_train_end(self, logs=None):
        # Callbacks before this one may have restored their best weights.
        if self._state is not None and self.model.stop_training:
            self._state["stopped_of"] = self.params["epochs"]
            write_state(self.path, self._state, self._variables())
        self.model._initial_epoch = None
        self.model.history.history = self._history

    def _variables(self):
        optimizer = self.model.optimizer
        # Keras builds a loss scaler twice if told so.
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return self.model.variables + optimizer.variables

    def _describe_run(self):
        run = describe_run(self.model, self._variables())
        run["data"] = self._data
        if self._plan is not None:
            run["dataset"] = {
                "images": self._plan.n,
                "batch_size": self._plan.batch_size,
                "alternating_flip": self._plan.alternating_flip,
            }
        return run

    def _check_run(self, but=None):
        if self._theirs is None:
            return
        found = [
            text
            for text in differences(self._theirs, self._describe_run())
            if but is None or but not in text
        ]
        if found:
            raise ValueError(
                "`path` must hold the state of this model and this run, and "
                f"the one that it holds has {'; '.join(found[:3])}. Remove the "
                f"file to begin anew. Received: path={str(self.path)!r}"
            )
