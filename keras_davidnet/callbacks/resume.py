"""Training that goes on after a crash as if there had been none."""

import json
import os
import pathlib

import keras
import numpy as np
from keras import ops

from keras_davidnet.callbacks.run import describe_run, differences
from keras_davidnet.datasets.batches import Batches


class Resume(keras.callbacks.Callback):
    """Saves the state of training after each epoch; `fit` goes on from it.

    A run that was killed and is started again, by the same program, ends with
    the weights and the history of one that was not: to the bit where two runs
    under one seed give the same bits.  What the last epoch had done when it was
    killed is done again.

    Saved are all variables of model and optimizer, which `BackupAndRestore` of
    Keras does likewise; the state of dropout and augmentation, which Keras
    keeps in no file; the number of epochs; and the history, which `fit` returns
    whole.  Of other callbacks nothing is saved; nor is, on torch, the generator
    of PyTorch that Keras's dropout draws from there.  The file is replaced in
    one step when the new one is on the disk: whenever the machine stops, one
    that is whole is there.

    The file names the run that it belongs to: the classes and configs of model
    and optimizer, without seeds and the value of the learning rate, the
    precision, every variable, and the plan of the dataset.

    Args:
        path: Of the file, an `.npz`.  Its folder is made if need be.  Remove
            the file to begin anew.
        dataset: What `fit` trains on, as `make_dataset(..., training=True)`
            gave it or as its `map` or `share`.  In epoch `e` of `fit` it then
            shows epoch `e` of its plan, whatever the model.

    Raises:
        TypeError: If `dataset` is no such dataset.
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

    def on_train_begin(self, logs=None):
        steps = self.params["steps"]
        if self.dataset is not None and steps != len(self.dataset):
            raise ValueError(
                "An epoch of `fit` must be one of `dataset`, which has "
                f"{len(self.dataset)} batches: leave out `steps_per_epoch`, "
                f"and fit that dataset. Received: {steps} steps per epoch"
            )
        self._history, self._run, self._theirs = {}, None, None
        if not self.path.exists():
            return
        state, arrays = self._read()
        self._theirs = state["run"]
        # A callback that comes after this one may set another decay.
        self._check_run(but="weight_decay")
        for variable, array in zip(self._variables(), arrays, strict=True):
            # NumPy has no name for bfloat16 and reads it as two bytes.
            dtype = ops.convert_to_numpy(variable).dtype
            variable.assign(array.view(dtype))
        self._history = state["history"]
        if self.dataset is not None:
            self.dataset.plan.seed = state["seed"]
        # As Keras's own BackupAndRestore tells `fit`.
        self.model._initial_epoch = state["epochs"]

    def on_epoch_begin(self, epoch, logs=None):
        # `fit` has read it; one that is interrupted must not leave it behind.
        self.model._initial_epoch = None
        if self.dataset is not None:
            self.dataset.plan.epoch = epoch
        if self._run is None:
            self._check_run()
            self._run = self._describe_run()

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            # JSON knows no arrays and no numbers of NumPy's.
            value = ops.convert_to_numpy(value).tolist()
            self._history.setdefault(name, []).append(value)
        state = {
            "run": self._run,
            "epochs": epoch + 1,
            "history": self._history,
        }
        if self.dataset is not None:
            state["seed"] = self.dataset.plan.seed
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

    def _describe_run(self):
        run = describe_run(self.model, self._variables())
        if self.dataset is not None:
            plan = self.dataset.plan
            run["dataset"] = {
                "images": plan.n,
                "batch_size": plan.batch_size,
                "alternating_flip": plan.alternating_flip,
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
            shapes = [shape for _, shape, _ in state["run"]["variables"]]
            if shapes != [list(array.shape) for array in arrays]:
                raise ValueError("its arrays are not those that it names")
        # A damaged zip file fails in many ways.
        except Exception as error:
            raise ValueError(
                f"`path` must be a file that Resume wrote, unharmed: {error}. "
                f"Received: path={str(self.path)!r}"
            ) from error
        return state, arrays
