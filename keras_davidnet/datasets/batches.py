"""Batches of arrays, for every backend and without TensorFlow."""

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_davidnet._checks import check_count
from keras_davidnet.datasets.epoch_plan import EpochPlan

if TYPE_CHECKING:
    import tensorflow as tf


def make_dataset(
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    training: bool = False,
    seed: int | None = None,
    alternating_flip: bool = False,
    subset: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
) -> "Batches":
    """Batches of raw images, as the models of this package take them.

    For training, the whole set is shuffled in every epoch and the last,
    incomplete batch is dropped, so that all steps have the same size and are
    compiled once.

    Args:
        images: `(n, height, width, channels)`.
        labels: `(n,)` or `(n, 1)`.
        batch_size: Number of images per batch.
        training: Whether to shuffle and to drop the last, incomplete batch.
        seed: Seed of the order and the flips in training.
        alternating_flip: Whether training flips half of the images in the even
            epochs and the others in the odd ones, see `EpochPlan`. The images
            then take twice the memory.
        subset: Which images training shows: booleans of shape `(n,)`. The
            others are skipped, and the order of those that are left is the same
            with any subset.
        sample_weight: Weight of each image's loss, `(n,)`.

    Returns:
        `Batches` of `(images, labels)` or `(images, labels, sample_weight)`.

    Raises:
        ValueError: If the arrays do not have these shapes, if there are fewer
            images than one training batch needs, if `seed` is negative, or if
            `subset` is not such an array or given without `training`.

    Example:

    ```python
    train_ds = make_dataset(x_train, y_train, 512, training=True, seed=0)
    model.fit(train_ds, epochs=24)
    ```
    """
    check_count("batch_size", batch_size)
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.shape[:1] != labels.shape[:1]:
        raise ValueError(
            "`images` must be of shape (n, height, width, channels), `labels` "
            f"of shape (n,) or (n, 1). Received: images.shape={images.shape}, "
            f"labels.shape={labels.shape}"
        )
    if training:
        plan = EpochPlan(
            len(images), batch_size, seed, alternating_flip, subset
        )
        return Batches(images, labels, batch_size, plan, sample_weight)
    if subset is not None:
        raise ValueError(
            "`subset` is for training; without it, pass images[subset] and "
            "labels[subset]. Received: subset=..., training=False"
        )
    return Batches(images, labels, batch_size, sample_weight=sample_weight)


class Batches(keras.utils.PyDataset):
    """`(images, labels)` batches of NumPy arrays; `make_dataset` makes them.

    `len(batches)` is their number and `batches[i]` is one of them, as it is in
    epoch `plan.epoch`. The `fit` of this package's models sets that epoch. With
    any other Keras model, pass `SyncEpoch(batches)` or `Resume(path, batches)`
    and `shuffle=False`: without the callback every epoch has the same order,
    and Keras's default shuffles the batches by an unseeded generator.

    Args:
        images: `(n, height, width, channels)`.
        labels: `(n,)` or `(n, 1)`.
        batch_size: Number of images per batch.
        plan: The `EpochPlan`. Without one, the images come in their order and
            the last batch may be smaller.
        sample_weight: `(n,)`, or None for batches without weights.

    Example:

    ```python
    plan = EpochPlan(len(x_train), 512, seed=0)
    batches = Batches(x_train, y_train, 512, plan)
    images, labels = batches[0]  # (512, 32, 32, 3), (512,)
    stock_model.fit(
        batches, epochs=24, shuffle=False, callbacks=[SyncEpoch(batches)]
    )
    ```
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        plan: EpochPlan | None = None,
        sample_weight: np.ndarray | None = None,
    ):
        super().__init__()
        self.images, self.labels = images, labels
        self.batch_size, self.plan = batch_size, plan
        if sample_weight is not None:
            if np.shape(sample_weight) != (len(images),):
                raise ValueError(
                    "`sample_weight` must hold a weight for each image, here "
                    f"of shape ({len(images)},). "
                    f"Received: an array of shape {np.shape(sample_weight)}"
                )
            sample_weight = np.asarray(sample_weight)
        self.sample_weight = sample_weight
        self.functions = ()
        self._views = images
        if plan is not None:
            size, planned = (len(images), batch_size), (plan.n, plan.batch_size)
            if planned != size:
                raise ValueError(
                    "`plan` must be for as many images, in batches of the same "
                    f"size, {size}. Received: plan for {planned}"
                )
            if plan.alternating_flip:
                # Flipping a batch takes eight times as long as gathering it.
                self._views = np.concatenate([images, images[:, :, ::-1]])

    def __len__(self) -> int:
        if self.plan is None:
            return math.ceil(len(self.labels) / self.batch_size)
        return self.plan.steps_per_epoch

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        index = range(len(self))[index]
        if self.plan is None:
            start = index * self.batch_size
            rows = views = slice(start, start + self.batch_size)
        else:
            epoch = self.plan.epoch
            rows = views = self.plan.indices(epoch)[index]
            if self.plan.alternating_flip:
                views = rows + self.plan.n * self.plan.flipped(epoch)[rows]
        batch = self._views[views], self.labels[rows]
        if self.sample_weight is not None:
            batch = *batch, self.sample_weight[rows]
        for function in self.functions:
            batch = function(*batch)
        return batch

    def map(self, function: Callable[..., tuple]) -> "Batches":
        """These batches with `function` applied, over the same plan.

        Args:
            function: Takes the arrays of a batch, `images, labels`, as NumPy's,
                and returns a tuple of the same.
        """
        mapped = copy.copy(self)
        mapped.functions = (*self.functions, function)
        return mapped

    def shard(self, num_shards: int, index: int) -> "Batches":
        """One of `num_shards` equal parts of every batch, for one process.

        Args:
            num_shards: Number of processes.
            index: Number of the process, from 0; the first one takes the first
                part of each batch.

        Raises:
            ValueError: If a batch cannot be split into `num_shards` equal
                parts, or `index` is not below `num_shards`.
        """
        check_count("num_shards", num_shards)
        if check_count("index", index, 0) >= num_shards:
            raise ValueError(
                "`index` must be less than `num_shards`. "
                f"Received: num_shards={num_shards}, index={index}"
            )
        sizes = len(self[0][0]), len(self[-1][0])
        if any(size % num_shards for size in sizes):
            raise ValueError(
                "Every batch must split into `num_shards` equal parts. Received"
                f": num_shards={num_shards}, first and last batches of {sizes}"
            )
        return self.map(
            lambda *batch: tuple(
                np.split(part, num_shards)[index] for part in batch
            )
        )

    def tf_dataset(self) -> "tf.data.Dataset":
        """The same batches as a `tf.data.Dataset`, drawn ahead of the step.

        Each batch is of the epoch that `plan.epoch` is when it is drawn: in
        `fit`, the callback `SyncEpoch(batches)` sets it.
        """
        import tensorflow as tf

        # The last batch may be smaller.
        first, last = self[0], self[-1]
        dtypes = [part.dtype for part in first]
        shapes = [
            (len(a) if len(a) == len(b) else None, *a.shape[1:])
            for a, b in zip(first, last, strict=True)
        ]

        def load(index):
            # NumPy gathers about as fast as TensorFlow.
            batch = tf.numpy_function(self.__getitem__, [index], dtypes)
            return tuple(map(tf.ensure_shape, batch, shapes))

        # Autotuning is off: its thread looks at the pipeline at intervals that
        # double up to a minute, and an iterator, so an epoch of fit, often ends
        # only when the interval does.
        options = tf.data.Options()
        options.autotune.enabled = False
        indices = tf.data.Dataset.range(len(self))
        return indices.map(load).prefetch(4).with_options(options)


class SyncEpoch(keras.callbacks.Callback):
    """Shows epoch `e` of the batches' plan in epoch `e` of `fit`.

    For stock models; the `fit` of this package's models does it. Like
    `set_epoch` of PyTorch's samplers.

    Args:
        batches: `Batches` with a plan: `make_dataset(..., training=True)`.
    """

    def __init__(self, batches: Batches):
        super().__init__()
        self.batches = batches
        self.plan = plan_of("batches", batches)

    def on_epoch_begin(self, epoch, logs=None):
        # Keras draws the epoch's first batch after this.
        self.plan.epoch = epoch


def plan_of(name: str, batches: Batches) -> EpochPlan:
    """The plan of the batches; or a TypeError."""
    plan = getattr(batches, "plan", None)
    if plan is None:
        raise TypeError(
            f"`{name}` must be Batches with a plan, as "
            "make_dataset(..., training=True) makes them. "
            f"Received: {name}={batches!r}"
        )
    return plan
