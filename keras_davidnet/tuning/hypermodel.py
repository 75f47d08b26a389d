"""The hypermodel."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_davidnet import datasets, recipes
from keras_davidnet.callbacks import DecoupledWeightDecay
from keras_davidnet.models import DavidNet
from keras_davidnet.tuning.search_space import (
    HYPERPARAMETERS,
    check_values,
    declare,
)


class DavidNetHyperModel(keras_tuner.HyperModel):
    """DavidNets and trainings for KerasTuner to search among.

    Each hyperparameter is given in one of three forms:

    - a list: the values to choose from, `width=[16, 32, 64]`;
    - a tuple: a range `(min, max)`, both included, `peak=(0.1, 1.0)`;
    - a single value, which fixes it: `epochs=10`.

    Ranges of `width`, `peak`, `weight_decay` and `batch_size` are sampled by
    their logarithm.  The space and the values of every trial go by the names of
    the arguments.

    Args:
        width: Number of filters of the first convolution.
        peak: The highest learning rate.
        warmup: Fraction of the training in which the rate rises to its peak,
            in (0, 1).  It falls to 0 at the end of the last epoch.
        decay: `"coupled"`, through the optimizer, or `"decoupled"`, through
            `DecoupledWeightDecay`.
        weight_decay: Strength of the coupled decay.  The decoupled one is ten
            times it, `weight_decay / (1 - momentum)`, which decays about as
            much.
        dropout: In each `ConvBN`.
        label_smoothing: In training.
        augmentation: `"none"`, or some of `crop`, `flip` and `cutout` joined by
            underscores, such as `"crop_flip"`: `RandomPadCrop`,
            `RandomHorizontalFlip` and `RandomCutout` with their defaults.
        batch_size: Images a batch.
        epochs: Length of the training.  `search(epochs=...)` takes its place,
            and so does `keras_tuner.Hyperband`.
        **kwargs: Of `DavidNet`, the same in all trials: `num_classes`,
            `input_shape`, `mean`, `std`, `dtype`, ...

    Raises:
        ValueError: If a list is empty, a range does not rise or begins at 0
            where it is sampled by its logarithm, or a value is one that
            `DavidNet` or the recipe can not take.

    Example:

    ```python
    tuner = keras_tuner.RandomSearch(
        DavidNetHyperModel(peak=(0.1, 1.0), width=32, epochs=10),
        objective="val_accuracy",
        max_trials=20,
        directory="runs",
        project_name="search",
    )
    tuner.search(x_train, y_train, validation_data=(x_valid, y_valid))
    ```
    """

    def __init__(
        self,
        *,
        width: int | Sequence[int] = [16, 32, 64],
        peak: float | Sequence[float] = (0.1, 1.0),
        warmup: float | Sequence[float] = (0.1, 0.4),
        decay: str | Sequence[str] = ["coupled", "decoupled"],
        weight_decay: float | Sequence[float] = (
            5e-5,
            5e-3,
        ),
        dropout: float | Sequence[float] = (0.0, 0.2),
        label_smoothing: float | Sequence[float] = (
            0.0,
            0.2,
        ),
        augmentation: str | Sequence[str] = [
            "crop",
            "crop_flip",
            "crop_flip_cutout",
        ],
        batch_size: int | Sequence[int] = [128, 256, 512],
        epochs: int | Sequence[int] = [8, 16, 24],
        **kwargs: Any,
    ):
        super().__init__()
        self.width = width
        self.peak = peak
        self.warmup = warmup
        self.decay = decay
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.epochs = epochs
        self.kwargs = kwargs
        for name in HYPERPARAMETERS:
            check_values(name, getattr(self, name))

    def build(self, hp: keras_tuner.HyperParameters) -> DavidNet:
        """The trial's net, compiled for evaluation; `fit` compiles it anew."""
        # All are declared here, those of `fit` too: KerasTuner learns the
        # space from `build` before the first trial.
        values = {
            name: declare(hp, name, getattr(self, name))
            for name in HYPERPARAMETERS
        }
        model = DavidNet(
            width=values["width"],
            dropout=values["dropout"],
            label_smoothing=values["label_smoothing"],
            augmentation=values["augmentation"],
            **self.kwargs,
        )
        model.compile()
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: DavidNet,
        x: np.ndarray,
        y: np.ndarray,
        *,
        validation_data: Any = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        epochs: int | None = None,
        initial_epoch: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the trial's net; `Tuner.search` passes its arguments here.

        Args:
            hp: The trial's values.
            model: The net that `build` gave.
            x: Raw images, `(n, height, width, channels)`.
            y: Labels, `(n,)` or `(n, 1)`.
            validation_data: As for `keras.Model.fit`.
            callbacks: Likewise.
            epochs: In place of the trial's own; the rate ends at 0 there.
            initial_epoch: Epoch to begin at; the rate is what it is there.
            **kwargs: Of `keras.Model.fit`: `verbose`, ...

        Returns:
            The history.

        Raises:
            keras_tuner.errors.FatalValueError: If no training reports the
                tuner's objective, before any step; it ends the search.
        """
        batch_size, epochs = hp.get("batch_size"), epochs or hp.get("epochs")
        if keras.backend.backend() == "tensorflow":
            data = {
                "x": datasets.make_dataset(x, y, batch_size, training=True),
                "shuffle": False,
                "validation_batch_size": batch_size,
            }
            steps_per_epoch = len(data["x"])
        else:
            data = {"x": x, "y": y, "batch_size": batch_size}
            steps_per_epoch = math.ceil(len(x) / batch_size)
        optimizer = recipes.davidnet_optimizer(
            steps_per_epoch,
            epochs,
            peak=hp.get("peak"),
            warmup=hp.get("warmup"),
            weight_decay=hp.get("weight_decay"),
        )
        # Hyperband goes on with the weights of a shorter training.
        optimizer.iterations.assign(initial_epoch * steps_per_epoch)
        if hp.get("decay") == "decoupled":
            callbacks = [
                *callbacks,
                DecoupledWeightDecay(
                    hp.get("weight_decay") / (1 - optimizer.momentum)
                ),
            ]
        model.compile(optimizer)
        _check_objective(model, x, y, validation_data, callbacks)
        return model.fit(
            **data,
            validation_data=validation_data,
            callbacks=callbacks,
            epochs=epochs,
            initial_epoch=initial_epoch,
            **kwargs,
        )


def _check_objective(model, x, y, validation_data, callbacks):
    # KerasTuner misses it only after the training, takes that for a fault of
    # the trial and goes on to the next. Its callback for the best weights knows
    # it before.
    logs = model.compute_metrics(x[:1], y[:1], model(x[:1])).keys()
    if validation_data is not None:
        logs |= {f"val_{name}" for name in logs}
    for callback in callbacks:
        objective = getattr(callback, "objective", None)
        if isinstance(
            objective, keras_tuner.Objective
        ) and not objective.has_value(logs):
            raise keras_tuner.errors.FatalValueError(
                f"`objective` must be one of {sorted(logs)}, which `fit` "
                "reports; those of validation need `validation_data`. "
                f"Received: objective={objective}"
            )
