"""A recipe: what decides a run, and what runs of it gave."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_davidnet._checks import argument_names, check_number
from keras_davidnet.callbacks import ProgressiveResizing
from keras_davidnet.datasets import Batches, make_dataset
from keras_davidnet.models import ImageClassifier
from keras_davidnet.models.whitened import Whitened


@dataclasses.dataclass(frozen=True)
class Result:
    """What runs of a recipe gave on CIFAR-10's test images.

    Args:
        accuracy: Mean over the runs, in [0, 1], with the recipe's views.
        runs: Number of runs, None where the source does not say.
        source: Where it is reported: a link, or a page of the docs.
        plain_accuracy: The same without views.
        std: Standard deviation of `accuracy` over the runs.
        seconds: Duration of the training of one run.
        hardware: What it ran on.
    """

    accuracy: float
    runs: int | None
    source: str
    plain_accuracy: float | None = None
    std: float | None = None
    seconds: float | None = None
    hardware: str | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Net, optimizer, data and length of a run.

    `fit` does the whole run.  `model`, `dataset`, `optimizer` and `callbacks`
    give its parts, for those who want to write it themselves; `replace` changes
    them.

    Args:
        name: What `recipes.get` calls it.
        net: Class of the net.
        make_optimizer: Function of `steps_per_epoch` and `epochs`, and of
            `batch_size` if its rates depend on that.
        batch_size: Number of images per batch.
        epochs: Number of epochs; 9.9 end within the tenth.
        net_arguments: Arguments of `net`.
        optimizer_arguments: Arguments of `make_optimizer`.
        alternating_flip: Whether images are mirrored in every other epoch, as
            `datasets.EpochPlan` explains.
        training_sizes: Height and width that `fit` scales the training images
            to, by the part of the run after which it begins: `{0: 24, 0.75:
            32}` are 24 pixels in three quarters of the epochs.  None for the
            images as they are.
        published: What its source reports.
        measured: What this package measured.

    Raises:
        TypeError: If `training_sizes` is not a mapping.
        ValueError: If one of its keys is not in `[0, 1)`.

    Example:

    ```python
    recipe = recipes.get("airbench94_muon")
    model = recipe.fit(x_train, y_train, validation_data=(x_test, y_test))
    ```

    The same, step by step:

    ```python
    model = recipe.model()
    model.adapt(x_train[:5000])  # model.adapts_on
    train_ds = recipe.dataset(x_train, y_train, seed=0)
    model.compile(recipe.optimizer(steps_per_epoch=len(train_ds)))
    model.fit(train_ds, epochs=recipe.epochs, callbacks=recipe.callbacks())
    ```
    """

    name: str
    net: type[ImageClassifier]
    make_optimizer: Callable[..., keras.optimizers.Optimizer]
    batch_size: int
    epochs: float
    net_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optimizer_arguments: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )
    alternating_flip: bool = False
    training_sizes: Mapping[float, int] | None = None
    published: Result | None = None
    measured: tuple[Result, ...] = ()

    def __post_init__(self):
        sizes = self.training_sizes
        if sizes is not None and not isinstance(sizes, Mapping):
            raise TypeError(
                "`training_sizes` must map parts of the run to sizes, as "
                "{0: 24, 0.75: 32} does. "
                f"Received: training_sizes={sizes!r}"
            )
        for begin in sizes or ():
            check_number("training_sizes", begin, ge=0, lt=1)

    def model(self) -> ImageClassifier:
        """A new net."""
        return self.net(**self.net_arguments)

    def optimizer(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """A new optimizer, whose rate ends after the recipe's epochs."""
        arguments = dict(self.optimizer_arguments)
        if "batch_size" in self._optimizer_names():
            arguments["batch_size"] = self.batch_size
        return self.make_optimizer(
            steps_per_epoch=steps_per_epoch, epochs=self.epochs, **arguments
        )

    def dataset(
        self, x: np.ndarray, y: np.ndarray, seed: int | None = None
    ) -> Batches:
        """The training batches of images and labels.

        Args:
            x: Raw images, `(n, height, width, channels)`.
            y: Labels, `(n,)` or `(n, 1)`.
            seed: Seed of the order and of the mirrored images.
        """
        return make_dataset(
            x,
            y,
            self.batch_size,
            training=True,
            seed=seed,
            alternating_flip=self.alternating_flip,
        )

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """New callbacks, those that the recipe needs."""
        if not self.training_sizes:
            return []
        # A size begins with the epoch that it falls into; the last size that
        # does, where a run is too short for all.
        sizes = {
            int(round(begin * self.epochs, 6)): size
            for begin, size in sorted(self.training_sizes.items())
        }
        return [ProgressiveResizing(sizes)]

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        validation_data: Any = None,
        callbacks: Any = None,
        seed: int | None = None,
        **fit_arguments: Any,
    ) -> ImageClassifier:
        """Does the run, and returns the trained net.

        Validation after each epoch sees each image once, which is cheaper;
        the net that is returned averages the recipe's views.

        Args:
            x: Raw training images, `(n, height, width, channels)`.
            y: Their labels, `(n,)` or `(n, 1)`.
            validation_data, callbacks: As for `keras.Model.fit`.
            seed: Seed of everything random in the run, given to
                `keras.utils.set_random_seed`.  With one, `Resume(path)` among
                the callbacks continues an interrupted run.
            **fit_arguments: As for `keras.Model.fit`: `verbose`, ...

        Returns:
            The net; `model.history.history` has the history.

        Raises:
            ValueError: If images or labels are not what the net takes, or
                there are fewer images than one batch.
            TypeError: If an argument belongs to `replace`.
        """
        for name in ("epochs", "batch_size"):
            if name in fit_arguments:
                value = fit_arguments[name]
                raise TypeError(
                    f"`{name}` is the recipe's: call "
                    f"recipe.replace({name}=...).fit(...). "
                    f"Received: {name}={value!r}"
                )
        if seed is not None:
            keras.utils.set_random_seed(seed)
        dataset = self.dataset(x, y, seed)
        if isinstance(validation_data, tuple | list):
            validation_data = make_dataset(
                *validation_data[:2], batch_size=self.batch_size
            )
        model = self.model()
        if isinstance(model, Whitened):
            model.adapt(x[: model.adapts_on])
        model.compile(self.optimizer(len(dataset)))
        views, model.views = model.views, None
        model.fit(
            dataset,
            epochs=self.epochs,
            validation_data=validation_data,
            # The net's fit() flattens them.
            callbacks=[self.callbacks(), callbacks or []],
            **fit_arguments,
        )
        model.views = views
        return model

    def replace(self, **changes: Any) -> "Recipe":
        """The recipe with some of its parts, or of their arguments, changed.

        Args:
            **changes: Fields of the recipe, such as `epochs`; arguments of the
                net, such as `num_classes`; arguments of the optimizer, such as
                `weight_decay`.  Rates that depend on the batch size follow it.

        Raises:
            ValueError: If a name is none of these.

        Example:

        ```python
        recipes.get("davidnet").replace(width=16, epochs=5, peak=0.6)
        ```
        """
        fields = {field.name for field in dataclasses.fields(self)}
        net = argument_names(self.net) - {"self", "args", "kwargs"}
        optimizer = self._optimizer_names() - {"steps_per_epoch"}
        new = {
            "net_arguments": dict(self.net_arguments),
            "optimizer_arguments": dict(self.optimizer_arguments),
        }
        for name, value in changes.items():
            if name in fields:
                new[name] = value
            elif name in net:
                new["net_arguments"][name] = value
            elif name in optimizer:
                new["optimizer_arguments"][name] = value
            else:
                known = sorted(fields | net | optimizer)
                raise ValueError(
                    f"The recipe {self.name!r} has no part of that name, only "
                    f"{known}. Received: {name}={value!r}"
                )
        # They are of the recipe as it was.
        return dataclasses.replace(self, **{"measured": (), **new})

    def _optimizer_names(self):
        return set(inspect.signature(self.make_optimizer).parameters)
