"""Input checks of `fit`, `evaluate` and `predict`, and the plan of batches."""

import contextlib
import math

import keras
import numpy as np

from keras_davidnet._array_checks import (
    as_array,
    check_finite,
    check_images,
    check_labels,
    check_raw,
)
from keras_davidnet._distribution import scope
from keras_davidnet.callbacks.lr_finder import LearningRateFinder
from keras_davidnet.callbacks.resume import Resume
from keras_davidnet.datasets import Batches
from keras_davidnet.datasets.plan import FollowEpoch
from keras_davidnet.models.annealing import Annealing
from keras_davidnet.models.averaged_step import averaging
from keras_davidnet.models.last_epoch import LastEpoch
from keras_davidnet.optimizers.grouped import GroupedOptimizer, unwrap

JAX = keras.backend.backend() == "jax"


class FittedModel(keras.Model):
    """A model that checks its arrays, and follows the plan of its batches.

    A subclass has `image_shape`, `smallest`, `num_classes`, `std` and
    `training_size`, as `ImageClassifier` explains them; `own_loss`,
    `own_rates`, `default_optimizer` and `_learning_rates`, as `Classifier`
    does.
    """

    # A batch in training must be a multiple of it.
    batch_multiple = 1
    _fitting = False

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs: float = 1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        **kwargs,
    ):
        """Like `keras.Model.fit`, but checks arrays and sets the default rate.

        All values of arrays are checked, those of `validation_data` too; of
        streams only the types.  `epochs` may have a fraction: 9.9 end within
        the tenth.  The rate of a default `compile()` reaches zero at the last
        step.  Batches of `datasets.make_dataset` are those of the epoch that
        `fit` is in.

        Raises:
            ValueError: If images or labels are not what the model takes: of
                another shape or dtype, empty, not finite, already scaled, or
                labels out of range; if a batch does not divide into the groups
                of the net; or if the rate is to end with the data and their
                length is not known.
            TypeError: If labels are not an array.
        """
        if validation_data is not None:
            data = keras.utils.unpack_x_y_sample_weight(validation_data)
            names = "validation_data[0]", "validation_data[1]"
            self._check_arrays(*names, *data[:2])
        self._check_arrays("x", "y", x, y)
        is_array = hasattr(x, "shape")
        size = batch_size or 32 if is_array else getattr(x, "batch_size", None)
        if steps_per_epoch is None:
            self._check_batches(x, size, validation_split)
        own_callbacks: list = [Annealing(size, epochs)]
        if isinstance(epochs, float):
            own_callbacks.append(LastEpoch(epochs))
            epochs = math.ceil(epochs)
        if isinstance(x, Batches) and x.plan is not None:
            if steps_per_epoch not in (None, len(x)):
                raise ValueError(
                    "An epoch of `x` has its own number of batches, "
                    f"{len(x)}. Received: steps_per_epoch={steps_per_epoch}"
                )
            own_callbacks.append(FollowEpoch(x))
            shuffle = False
        callbacks = keras.tree.flatten(callbacks or [])
        for callback in callbacks:
            if isinstance(callback, Resume | LearningRateFinder):
                callback.on_data(x, y)
        self._build_optimizer()
        self._fitting = True
        average = averaging(self)
        try:
            return super().fit(
                _unmoved(x),
                y,
                batch_size,
                epochs,
                verbose,
                [*own_callbacks, *callbacks],
                validation_split,
                _unmoved(validation_data),
                shuffle,
                class_weight,
                sample_weight,
                initial_epoch,
                steps_per_epoch,
                **kwargs,
            )
        except BaseException:
            if average is not None:
                average.reset()
            raise
        finally:
            self._fitting = False
            self.training_size = None

    def make_train_function(self, force=False):
        """On JAX, runs `steps_per_execution` steps in one program."""
        made = self.train_function is not None and not force
        super().make_train_function(force)
        if (
            JAX
            and not made
            and self.steps_per_execution > 1
            and self.jit_compile
            and not self.run_eagerly
            # Batches that are spread over devices are not put together.
            and keras.distribution.distribution() is None
        ):
            from keras_davidnet.models.steps_at_once import steps_at_once

            self.train_function = steps_at_once(
                self.train_step, self.steps_per_execution
            )

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Like `keras.Model.evaluate`, but checks arrays, as `fit` does."""
        if not self._fitting:
            self._check_arrays("x", "y", x, y)
        with _kept(self):
            return super().evaluate(_unmoved(x), y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """Like `keras.Model.predict`; the plan of batches stays as it is."""
        with _kept(self):
            return super().predict(_unmoved(x), *args, **kwargs)

    def train_on_batch(
        self,
        x,
        y=None,
        sample_weight=None,
        class_weight=None,
        return_dict=False,
    ):
        """Like `keras.Model.train_on_batch`; only `fit` logs the rates."""
        self._build_optimizer()
        logs = super().train_on_batch(x, y, sample_weight, class_weight, True)
        for name in self._learning_rates():
            logs.pop(name, None)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def _build_optimizer(self):
        """Not in compile(): layers may be frozen after it."""
        if self.compiled and not self.optimizer.built:
            for optimizer in unwrap(self.optimizer):
                if isinstance(optimizer, GroupedOptimizer):
                    frozen = self.non_trainable_weights
                    optimizer.frozen = tuple(w.path for w in frozen)
            average = averaging(self)
            with scope(self):
                if average is not None:
                    average.build(
                        self.trainable_variables,
                        [
                            w
                            for w in self.non_trainable_weights
                            if keras.backend.is_float_dtype(w.dtype)
                        ],
                    )
                self.optimizer.build(self.trainable_variables)

    # Only a built optimizer has state to save or load.

    def save_own_variables(self, store):
        self._build_optimizer()
        super().save_own_variables(store)

    def load_own_variables(self, store):
        self._build_optimizer()
        super().load_own_variables(store)

    def checked_images(self, name: str, images) -> np.ndarray:
        """The images as a NumPy array; raises unless they are raw and fit."""
        images = as_array(name, images)
        check_images(name, images, self.image_shape[2], self.smallest)
        low, high = check_finite(name, images)
        # Pixels in 0..1 deviate by less than one from their mean.
        if 255 * min(self.std) > 1.01:
            check_raw(name, images, low, high)
        return images

    def _check_batches(self, x, size, validation_split):
        """Raises an error before an epoch that would end with one."""
        if self.batch_multiple == 1:
            return
        sizes = ()
        if isinstance(x, Batches):
            sizes = len(x[0][0]), len(x[-1][0])
        elif hasattr(x, "shape"):
            n = math.floor(x.shape[0] * (1 - validation_split))
            sizes = min(size, n), n % size
        for size in sizes:
            if size % self.batch_multiple:
                raise ValueError(
                    "Every batch in training must be a multiple of "
                    f"{self.batch_multiple}, the groups of the net's batch "
                    "normalization: datasets.make_dataset(..., training=True) "
                    "leaves out a last one that is smaller. "
                    f"Received: a batch of {size}"
                )

    def _check_arrays(self, x_name, y_name, x, y):
        """Raises an error unless the model can be trained on these arrays.

        Streams are checked when the step is traced.
        """
        if isinstance(x, Batches):
            # A function may change the arrays: check a batch then.
            x, y = x[0] if x.functions else (x.images, x.labels)
        if not (hasattr(x, "shape") and hasattr(x, "dtype")):
            return
        x = self.checked_images(x_name, x)
        loss = self.loss
        sparse = isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
        # The class to ignore may be any number.
        if self.own_loss or (sparse and loss.ignore_class is None):
            if y is not None:
                y = as_array(y_name, y)
            check_labels(y_name, y, x, self.num_classes)


@contextlib.contextmanager
def _kept(model):
    """Restores the model's variables if a step fails.

    On JAX Keras takes them out of the model while it evaluates or predicts, and
    an error would leave it without.
    """
    values = []
    if JAX:
        values = [(v, v.value) for v in model.variables]
    try:
        yield
    except Exception:
        for variable, value in values:
            variable.assign(value)
        raise


def _unmoved(data):
    """The data; batches in a form that does not move their plan when drawn."""
    return data.feed() if isinstance(data, Batches) else data
