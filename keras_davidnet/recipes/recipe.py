"""A recipe: everything that determines a training run, and its results."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from keras_davidnet._array_checks import check_classes
from keras_davidnet._checks import (
    as_pair,
    check_number,
    check_size,
    to_python,
)
from keras_davidnet._split import split
from keras_davidnet.callbacks import ProgressiveResizing
from keras_davidnet.datasets import Batches, make_dataset
from keras_davidnet.layers.composite import clone_layer
from keras_davidnet.models import ImageClassifier
from keras_davidnet.recipes.arguments import defaults, net_defaults, value_of
from keras_davidnet.recipes.fit_many import fit_many
from keras_davidnet.recipes.for_data import changes_for_data
from keras_davidnet.recipes.runs import Runs


@dataclasses.dataclass(frozen=True)
class Result:
    """Accuracy of a recipe's runs on test images.

    Args:
        accuracy: Mean over the runs, in [0, 1], with the recipe's views.
        runs: Number of runs, None where the source does not say.
        source: Where it is reported: a link, or a page of the docs.
        one_view_accuracy: Mean accuracy without test-time augmentation.
        std: Standard deviation of `accuracy` over the runs.
        seconds: Duration of the training of the fastest run, compilation
            included; where published, as its source counts.
        hardware: What it ran on.
        dataset: Name of the data.
    """

    accuracy: float
    runs: int | None
    source: str
    one_view_accuracy: float | None = None
    std: float | None = None
    seconds: float | None = None
    hardware: str | None = None
    dataset: str = "CIFAR-10"


def _mapping():
    # Dicts have no hash.
    return dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Model, optimizer, batches and number of epochs of a training run.

    `fit` does the whole run; `model`, `dataset`, `optimizer` and `callbacks`
    make its parts; `replace` changes them, and `for_data` fits them to images
    other than CIFAR-10.

    Args:
        name: Its name in `recipes.get`.
        net: Class of the net.
        make_optimizer: Function of `steps_per_epoch`, `epochs` and
            `batch_size`, such as `optimizers.davidnet_optimizer`.
        batch_size: Number of images per batch.
        epochs: Number of epochs; 9.9 stops within the tenth.
        net_arguments: Arguments of `net`.
        optimizer_arguments: Arguments of `make_optimizer`.
        alternating_flip: Whether images are mirrored in every other epoch; see
            `datasets.EpochPlan`.
        image_sizes: Height and width of the training images, by the part of
            the run after which they begin: `{0: 24, 0.75: 32}` are 24 pixels in
            three quarters of the steps.  None for the images as they are.
        num_images: Size of the training set that `batch_size` and `epochs`
            were chosen for; `for_data` scales both from it.
        published: The result that its source reports.
        measured: The results that this package measured.

    Raises:
        ValueError: If a key of `image_sizes` is not in `[0, 1)`, or a value no
            size.

    Example:

    ```python
    recipe = recipes.get("airbench94_muon")
    model = recipe.fit(x_train, y_train, validation_data=(x_test, y_test))
    ```

    Roughly the same, step by step:

    ```python
    model = recipe.model()
    model.adapt(x_train)
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
    net_arguments: Mapping[str, Any] = _mapping()
    optimizer_arguments: Mapping[str, Any] = _mapping()
    alternating_flip: bool = False
    image_sizes: Mapping[float, int | tuple[int, int]] | None = (
        dataclasses.field(default=None, hash=False)
    )
    num_images: int = 50_000
    published: Result | None = None
    measured: tuple[Result, ...] = ()

    def __post_init__(self):
        # Dicts of its own.
        own: dict[str, Any] = {
            "batch_size": to_python(self.batch_size),
            "epochs": to_python(self.epochs),
            "alternating_flip": to_python(self.alternating_flip),
            "num_images": to_python(self.num_images),
            "net_arguments": dict(self.net_arguments),
            "optimizer_arguments": dict(self.optimizer_arguments),
        }
        if self.image_sizes is not None:
            for begin in self.image_sizes:
                check_number("image_sizes", begin, ge=0, lt=1)
            own["image_sizes"] = {
                to_python(begin): check_size("image_sizes", size)
                for begin, size in self.image_sizes.items()
            }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def model(self) -> ImageClassifier:
        """A new net."""
        # Two nets share no layer.
        return self.net(
            **{key: clone_layer(v) for key, v in self.net_arguments.items()}
        )

    def optimizer(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """A new optimizer; its schedule ends after the recipe's epochs."""
        return self.make_optimizer(
            steps_per_epoch=steps_per_epoch,
            epochs=self.epochs,
            batch_size=self.batch_size,
            **self.optimizer_arguments,
        )

    def dataset(
        self,
        x: np.ndarray,
        y: np.ndarray,
        seed: int | None = None,
        subset: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> Batches:
        """The training batches of images and labels.

        Args:
            x: Raw images, `(n, height, width, channels)`.
            y: Labels, `(n,)` or `(n, 1)`.
            seed: Seed of the order and of the mirrored images.
            subset: Which images are shown, see `datasets.EpochPlan`.
            sample_weight: Weight of each image's loss, `(n,)`.

        Raises:
            ValueError: If images or labels do not have these shapes, if there
                are fewer images than one batch, or if `subset` is not booleans
                of shape `(n,)` or holds no image of one of the labels.
        """
        dataset = make_dataset(
            x,
            y,
            self.batch_size,
            training=True,
            seed=seed,
            alternating_flip=self.alternating_flip,
            subset=subset,
            sample_weight=sample_weight,
        )
        self._check_last_size(dataset.images.shape[1:3])
        if subset is not None:
            check_classes(dataset.labels, np.asarray(subset))
        return dataset

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """New callbacks that the recipe needs."""
        if not self.image_sizes:
            return []
        self._check_last_size(value_of(self, "input_shape")[:2])
        sizes = {
            # A third of nine epochs are whole ones.
            round(begin * self.epochs, 6): size
            for begin, size in self.image_sizes.items()
        }
        return [ProgressiveResizing(sizes)]

    def _check_last_size(self, shape):
        if not self.image_sizes or None in shape:
            return
        last = self.image_sizes[max(self.image_sizes)]
        if tuple(shape) != as_pair(last):
            raise ValueError(
                "The last of `image_sizes` must be the size of the images, at "
                "which the net is used: recipe.replace(image_sizes=...). "
                f"Received: image_sizes={self.image_sizes}, images of {shape}"
            )

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        seed: int | None = None,
        subset: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        **fit_arguments: Any,
    ) -> ImageClassifier:
        """Trains a new net, and returns it.

        Validation during training does not use test-time augmentation; the
        model that is returned does.

        Args:
            x: Raw training images, `(n, height, width, channels)`.
            y: Their labels, `(n,)` or `(n, 1)`.
            validation_data, validation_split, callbacks, sample_weight: As for
                `keras.Model.fit`.
            seed: Seed of everything random in the run, given to
                `keras.utils.set_random_seed`.  With one, `Resume(path)` among
                the callbacks continues an interrupted run.
            subset: Which images to train on: booleans of shape `(n,)`, or
                None for all.  Whitening filters and the length of the
                learning-rate schedule come from the subset, too.  With one
                seed, images that are in two subsets come in the same order.
            **fit_arguments: As for `keras.Model.fit`: `verbose`, ...

        Returns:
            The net; `model.history.history` has the history.

        Raises:
            ValueError: If images or labels are not what the net takes, there
                are fewer images than one batch, or `subset` is not such an
                array or holds no image of one of the labels.
            TypeError: If an argument belongs to `replace`.
        """
        for name in {"epochs", "batch_size"} & fit_arguments.keys():
            raise TypeError(
                f"`{name}` is the recipe's: call recipe.replace({name}=...)"
                f".fit(...). Received: {name}={fit_arguments[name]!r}"
            )
        if not fit_arguments.get("shuffle", True):
            raise ValueError(
                "A recipe shuffles its images: for their own order, fit "
                "recipe.model(). Received: shuffle=False"
            )
        if seed is not None:
            keras.utils.set_random_seed(to_python(seed))
        if validation_split and validation_data is None:
            (x, y, sample_weight, subset), (*validation_data, _) = split(
                validation_split, x, y, sample_weight, subset
            )
        dataset = self.dataset(x, y, seed, subset, sample_weight)
        if isinstance(validation_data, tuple | list):
            fit_arguments.setdefault("validation_batch_size", self.batch_size)
        model = self.model()
        model.adapt(dataset)
        model.compile(self.optimizer(len(dataset)))
        model.one_view = True
        model.fit(
            dataset,
            epochs=self.epochs,
            validation_data=validation_data,
            # The net's fit() flattens them.
            callbacks=[self.callbacks(), callbacks or []],
            **fit_arguments,
        )
        model.one_view = False
        # They were traced with one view.
        model.test_function = model.predict_function = None
        return model

    def fit_many(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        seeds: Iterable[int],
        folder: str | os.PathLike,
        subsets: float | np.ndarray | None = None,
        executor: concurrent.futures.Executor | None = None,
        threads: int | None = None,
        half_precision: bool = False,
        verbose: str | int = "auto",
    ) -> Runs:
        """Trains a net for each seed, and keeps them in a folder.

        Each is the net of `fit(x, y, seed=..., subset=...)` alone.  Called
        again, it trains what is not finished; a run that was killed continues
        after its last whole epoch, as with `Resume`.  Finished runs are never
        trained again nor overwritten, and more seeds may be added.

        Args:
            x: Raw training images, `(n, height, width, channels)`.
            y: Their labels, `(n,)` or `(n, 1)`.
            seeds: A different seed for each run.
            folder: Where the runs are kept, a folder `seed-N` for each.
            subsets: The images that each model is trained on: None for all; a
                fraction in (0, 1), for a random subset of that size, drawn
                from the run's seed; or booleans of shape `(runs, n)`.
            executor: Any `concurrent.futures.Executor`, whose workers then
                train the nets; they read and write the folder.  Without one,
                the nets are trained here, one after another.
            threads: Number of threads of each worker, such as its share of the
                cores; by default each worker uses all cores.  Another number
                rounds differently.
            half_precision: Whether to keep the nets in float16, which takes
                half the space.
            verbose: As for `keras.Model.fit`.

        Returns:
            The `Runs` of these seeds.

        Raises:
            ValueError: Before any training: if images or labels are not what
                the model takes; if a seed comes twice; if a subset is of
                another form, too small, or lacks a class; or if the folder
                holds runs of another recipe, other data or other subsets.
                Also if the executor forks its processes, or the optimizer has
                no config.
            TypeError: Before any training, if a file could not give the model
                back, as of a class that is not registered.
            RuntimeError: If runs failed in workers, when all others are
                finished.

        Example: sixteen nets, each on its own random half.

        ```python
        runs = recipes.get("cpu94").fit_many(
            x_train, y_train, seeds=range(16), subsets=0.5, folder="runs/half"
        )
        runs.masks  # (16, n)
        runs.margins(x_train, y_train)  # (16, n)
        ```
        """
        return fit_many(
            self,
            x,
            y,
            seeds=seeds,
            folder=folder,
            subsets=subsets,
            executor=executor,
            threads=threads,
            half_precision=half_precision,
            verbose=verbose,
        )

    def for_data(self, x: np.ndarray, y: np.ndarray) -> "Recipe":
        """Adapts the recipe to another data set.

        Changes what depends on the data: the number of classes; the size, mean
        and standard deviation of the images; and batch size and epochs, for
        about as many steps as the recipe makes on its own data, of which as
        large a part trains the whitening.  Learning rates that depend on the
        batch size follow it.  `Airbench` and `NavierStoked` also get a larger
        epsilon in batch normalization, which images with a blank background
        need.

        Recipes mirror images at random.  If a mirror image of yours is of
        another class or of none, as with digits and letters, switch that off as
        the example does.  In `davidnet`, `davidnet_tf` and `bag_of_tricks`,
        also choose an `augmentation` without `flip`.

        Args:
            x: Raw training images, `(n, height, width, channels)`.
            y: Their labels, `(n,)` or `(n, 1)`, from 0 on.

        Raises:
            ValueError: If these are not such images and labels, if the images
                are on another scale or too small for the net, or there is one
                class only, or there are fewer images than classes, or a channel
                is constant.

        Example:

        ```python
        recipe = recipes.get("airbench94_muon").for_data(x_train, y_train)
        model = recipe.fit(x_train, y_train)

        # The same, without mirror images.
        recipe = recipe.replace(alternating_flip=False, views=None)
        ```
        """
        return self.replace(**changes_for_data(self, x, y))

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
        recipe = recipes.get("davidnet")
        recipe.replace(width=16, epochs=5, peak_learning_rate=0.6)
        ```
        """
        fields = vars(self).keys()
        net = net_defaults(changes.get("net", self.net)).keys()
        make_optimizer = changes.get("make_optimizer", self.make_optimizer)
        optimizer = defaults(make_optimizer).keys() - {"steps_per_epoch"}
        # What was measured is about the recipe as it was.
        new: dict[str, Any] = {"measured": ()}
        new |= {k: to_python(changes[k]) for k in fields & {*changes}}
        for whole in ("net_arguments", "optimizer_arguments"):
            new[whole] = dict(new.get(whole, getattr(self, whole)))
        for name in changes.keys() - fields:
            value = to_python(changes[name])
            if name in net:
                new["net_arguments"][name] = value
            elif name in optimizer:
                new["optimizer_arguments"][name] = value
            else:
                known = sorted(fields | net | optimizer)
                raise ValueError(
                    f"The recipe {self.name!r} has no part of that name, only "
                    f"{known}. Received: {name}={value!r}"
                )
        return dataclasses.replace(self, **new)
