"""Batches of arrays, for every backend and without TensorFlow."""

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_davidnet import _backend
from keras_davidnet._checks import check_count
from keras_davidnet.datasets.plan import EpochPlan

if TYPE_CHECKING:
    import tensorflow as tf


class Batches(keras.utils.PyDataset):
    """`(images, labels)` batches of NumPy arrays; `make_dataset` makes them.

    `len(batches)` is their number and `batches[i]` one of them: of epoch
    `plan.epoch` if there is a plan.  Looking at batches, by an index, in a
    loop or through Keras, leaves the plan where it is.

    In epoch `e` of `fit`, a model of this package is shown epoch `e` of the
    plan, and so is any Keras model together with `Resume(path, batches)`.  A
    stock model alone is shown the next epoch whenever it has drawn a whole one,
    in `evaluate` as well; where an epoch is so short that Keras draws the whole
    of it to build the model, it begins one epoch later.  Give `fit` of a stock
    model `shuffle=False`: Keras's default shuffles the batches once more, by a
    generator that is not seeded here.

    Args:
        images: `(n, height, width, channels)`.
        labels: `(n,)` or `(n, 1)`.
        batch_size: Images per batch.
        plan: The `EpochPlan`; without one, the images come in their order and
            the last batch may be smaller.

    Example:

    ```python
    plan = EpochPlan(len(x_train), 512, seed=0)
    batches = Batches(x_train, y_train, 512, plan)
    images, labels = batches[0]  # (512, 32, 32, 3), (512,)
    stock_model.fit(batches, epochs=24, shuffle=False)
    ```
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        plan: EpochPlan | None = None,
    ):
        super().__init__()
        self.images, self.labels = images, labels
        self.batch_size, self.plan = batch_size, plan
        self._views = images
        if plan is not None:
            own = len(images), batch_size
            if (plan.n, plan.batch_size) != own:
                raise ValueError(
                    "`plan` must be made for as many images, in batches of the "
                    f"same size, {own}. "
                    f"Received: plan for {(plan.n, plan.batch_size)}"
                )
            if plan.alternating_flip:
                # To mirror a batch takes eight times as long as to gather it.
                self._views = np.concatenate([images, images[:, :, ::-1]])
        self.functions = ()
        # The batches that Keras drew since it began an epoch.
        self._drawn = None
        self._advances = plan is not None

    def __len__(self) -> int:
        if self.plan is None:
            return math.ceil(len(self.labels) / self.batch_size)
        return self.plan.n // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        index = range(len(self))[index]
        if self._drawn is not None:
            self._drawn.add(index)
        if self.plan is None:
            start = index * self.batch_size
            rows = views = slice(start, start + self.batch_size)
        else:
            epoch = self.plan.epoch
            rows = views = self.plan.order(epoch)[index]
            if self.plan.alternating_flip:
                views = rows + self.plan.n * self.plan.mirrored(epoch)[rows]
        batch = self._views[views], self.labels[rows]
        for function in self.functions:
            batch = function(*batch)
        return batch

    def map(self, function: Callable[..., tuple]) -> "Batches":
        """These batches with `function` applied, over the same plan.

        Args:
            function: Takes `images, labels` of a batch, as NumPy arrays, and
                returns a tuple of the same.
        """
        mapped = copy.copy(self)
        mapped.functions = (*self.functions, function)
        mapped._drawn = None
        return mapped

    def share(self, index: int, count: int) -> "Batches":
        """The part of every batch that is for process `index` of `count`.

        Args:
            index: Number of the process, from 0; the first gets the first
                part.
            count: Number of processes.

        Raises:
            ValueError: If a batch cannot be split into `count` equal parts, or
                `index` is not below `count`.
        """
        check_count("count", count)
        if check_count("index", index, 0) >= count:
            raise ValueError(
                "`index` must be less than `count`. "
                f"Received: index={index}, count={count}"
            )
        for size in (len(self[0][0]), len(self[-1][0])):
            if size % count:
                raise ValueError(
                    "Every batch must split into `count` equal parts, the last "
                    f"one too. Received: count={count}, a batch of {size}"
                )
        return self.map(
            lambda *batch: tuple(np.split(part, count)[index] for part in batch)
        )

    def feed(self) -> "Batches | tf.data.Dataset":
        """The same batches for a `fit` that sets `plan.epoch` by itself.

        Drawing from them, even a whole epoch, never moves the plan.  It is a
        `tf.data.Dataset` on TensorFlow, `Batches` elsewhere.
        """
        feed = copy.copy(self)
        feed._advances = False
        return _backend.stream(feed)

    def tf_dataset(self) -> "tf.data.Dataset":
        """The same batches as a `tf.data.Dataset`, drawn ahead of the step.

        Each of its iterators shows the epoch that `plan.epoch` is when the
        first batch is drawn.
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

    # Keras calls these in evaluation as well, and once for the batch from which
    # it builds a model.

    def on_epoch_begin(self):
        self._drawn = set()

    def on_epoch_end(self):
        whole = self._drawn is not None and len(self._drawn) == len(self)
        self._drawn = None
        if self.plan is not None and whole and self._advances:
            self.plan.epoch += 1
