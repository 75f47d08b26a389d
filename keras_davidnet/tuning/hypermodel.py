"""The hypermodels."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.errors import FatalTypeError, FatalValueError

from keras_davidnet import recipes
from keras_davidnet._split import split
from keras_davidnet.callbacks import DecoupledWeightDecay, Resume
from keras_davidnet.models import ImageClassifier
from keras_davidnet.recipes.arguments import value_of
from keras_davidnet.tuning.search_space import Argument

# The number of steps is known when a trial is fitted; for fewer, an optimizer
# may warn.
_SOME_STEPS = 1000


def fatal_on_error(function):
    """Ends the search on an error that the next trial would have, too.

    KerasTuner itself counts a failed trial and begins the next.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise FatalValueError(str(error)) from error
        except TypeError as error:
            raise FatalTypeError(str(error)) from error

    return wrapper


class RecipeHyperModel(keras_tuner.HyperModel):
    """Runs of a recipe for KerasTuner to search among.

    Each argument of the recipe is given in one of three forms:

    - a list: the values to choose from, `width=[16, 32, 64]`;
    - a tuple: a range `(min, max)`, both included, `width=(16, 64)`; of
      integers if both are and the argument's default is not a float;
    - a single value, which fixes it: `epochs=10`.

    An argument whose default is a sequence, such as `widths`, has no ranges: a
    list of sequences holds choices, anything else is a single value.  Ranges of
    `width`, `batch_size`, and of arguments that end in `rate`, `decay` or
    `scale`, are sampled by their logarithm.

    Hyperparameters are named like the arguments.  Choices that are not all
    integers, all floats or all strings are given as text, such as
    `"(64, 256, 256)"`.

    Args:
        recipe: The recipe or its name.
        **space: What `Recipe.replace` takes: `epochs`, `batch_size`, arguments
            of the net and of the optimizer.  `search(epochs=...)` takes the
            place of `epochs`, and so does `keras_tuner.Hyperband`.

    Raises:
        ValueError: If the recipe has no argument of a name, a list is empty, a
            range does not rise or begins at 0 where it is sampled by its
            logarithm, or the optimizer cannot take a value.  A value that the
            net cannot take ends the search when a trial has it.

    Example:

    ```python
    hypermodel = RecipeHyperModel(
        "airbench94_muon",
        widths=[(32, 128, 128), (64, 256, 256)],
        filters_learning_rate=(0.1, 0.5),
    )
    tuner = keras_tuner.RandomSearch(hypermodel, "val_accuracy", max_trials=20)
    tuner.search(x_train, y_train, validation_data=(x_valid, y_valid))
    ```
    """

    def __init__(self, recipe: str | recipes.Recipe, /, **space: Any):
        super().__init__()
        if isinstance(recipe, str):
            recipe = recipes.get(recipe)
        self.recipe = recipe
        self._arguments = []
        for name, given in space.items():
            argument = Argument(name, given, value_of(recipe, name))
            for value in argument.values:
                recipe.replace(**{name: value}).optimizer(_SOME_STEPS)
            self._arguments.append(argument)

    @fatal_on_error
    def build(self, hp: keras_tuner.HyperParameters) -> ImageClassifier:
        """The trial's net, compiled with its optimizer and the net's loss."""
        # This declares the arguments of `fit` too: KerasTuner learns the space
        # from `build`, before the first trial.
        trial = self._trial(hp)
        model = trial.model()

        def default_optimizer(steps_per_epoch=_SOME_STEPS, **changes):
            return trial.replace(**changes).optimizer(steps_per_epoch)

        model.default_optimizer = default_optimizer
        model.compile()
        # So it has the state that a checkpoint of KerasTuner brings back.
        model.build_optimizer()
        return model

    @fatal_on_error
    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: ImageClassifier,
        x: np.ndarray,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        *,
        validation_split: float = 0.0,
        validation_data: Any = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        shuffle: bool = True,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the trial's net; `Tuner.search` passes its arguments here.

        Args:
            hp: The trial's values.
            model: The net from `build`.
            x: Raw images, `(n, height, width, channels)`.
            y: Labels, `(n,)` or `(n, 1)`.
            batch_size, epochs: In place of the trial's own.
            validation_split, validation_data, callbacks, **kwargs: As for
                `keras.Model.fit`.
            shuffle: Must be true.
            sample_weight: Weight of each image's loss, `(n,)`.

        Returns:
            The history.

        Raises:
            keras_tuner.errors.FatalTypeError, FatalValueError: If an argument
                is wrong; it ends the search.
        """
        if y is None or not shuffle:
            raise ValueError(
                "A search makes each trial's batches from arrays of images and "
                "labels, and shuffles them. "
                f"Received: y={type(y).__name__}, shuffle={shuffle}"
            )
        if any(isinstance(callback, Resume) for callback in callbacks):
            raise ValueError(
                "`Resume` belongs to a single run; a search continues when it "
                "is started again. Received: callbacks with Resume"
            )
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split(
                validation_split, x, y, sample_weight
            )
        trial = self._trial(hp)
        trial = trial.replace(
            batch_size=batch_size or trial.batch_size,
            epochs=epochs or trial.epochs,
        )
        model.adapt(x)
        return model.fit(
            trial.dataset(x, y, sample_weight=sample_weight),
            validation_data=validation_data,
            callbacks=[*trial.callbacks(), *callbacks],
            epochs=trial.epochs,
            **{"validation_batch_size": trial.batch_size, **kwargs},
        )

    def _trial(self, hp):
        values = {one.name: one.declare(hp) for one in self._arguments}
        return self.recipe.replace(**values)


class DavidNetHyperModel(RecipeHyperModel):
    """Runs of DavidNet for KerasTuner to search among.

    Args:
        width, dropout, label_smoothing, augmentation: As for `DavidNet`, in
            the forms of `RecipeHyperModel`, as all but `**kwargs`.
        peak_learning_rate, warmup: As for `optimizers.davidnet_optimizer`.
        decay: `"coupled"`, through the optimizer, or `"decoupled"`, through
            `DecoupledWeightDecay`.
        weight_decay: Strength of the coupled decay.  The decoupled one is ten
            times it, `weight_decay / (1 - momentum)`, which decays about as
            much.
        batch_size, epochs: As for `Recipe`.
        **kwargs: Arguments of `DavidNet`, the same in all trials:
            `num_classes`, `input_shape`, `mean`, `std`, `dtype`, ...

    Example:

    ```python
    DavidNetHyperModel(peak_learning_rate=(0.1, 1.0), width=32, epochs=10)
    ```
    """

    def __init__(
        self,
        *,
        width: int | Sequence[int] = [16, 32, 64],
        peak_learning_rate: float | Sequence[float] = (0.1, 1.0),
        warmup: float | Sequence[float] = (0.1, 0.4),
        decay: str | Sequence[str] = ["coupled", "decoupled"],
        weight_decay: float | Sequence[float] = (5e-5, 5e-3),
        dropout: float | Sequence[float] = (0.0, 0.2),
        label_smoothing: float | Sequence[float] = (0.0, 0.2),
        augmentation: str | Sequence[str] = [
            "crop",
            "crop_flip",
            "crop_flip_cutout",
        ],
        batch_size: int | Sequence[int] = [128, 256, 512],
        epochs: int | Sequence[int] = [8, 16, 24],
        **kwargs: Any,
    ):
        super().__init__(
            recipes.get("davidnet_tf").replace(net_arguments=kwargs),
            width=width,
            peak_learning_rate=peak_learning_rate,
            warmup=warmup,
            weight_decay=weight_decay,
            dropout=dropout,
            label_smoothing=label_smoothing,
            augmentation=augmentation,
            batch_size=batch_size,
            epochs=epochs,
        )
        self._decay = Argument("decay", decay)
        if not {"coupled", "decoupled"}.issuperset(self._decay.values):
            raise ValueError(
                '`decay` must be "coupled" or "decoupled". '
                f"Received: decay={decay!r}"
            )

    def build(self, hp):
        model = super().build(hp)
        self._decay.declare(hp)
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        if self._decay.declare(hp) == "decoupled":
            # It replaces the optimizer's own decay; the momentum is 0.9.
            decay = DecoupledWeightDecay(10 * hp.get("weight_decay"))
            callbacks = [*callbacks, decay]
        return super().fit(hp, model, *args, callbacks=callbacks, **kwargs)
