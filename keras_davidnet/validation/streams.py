"""Checks of what is given to fit, evaluate and predict."""

import itertools
import sys
import types

import keras
import numpy as np

from keras_davidnet.datasets.batches import Batches
from keras_davidnet.validation.arrays import DataRules


class DataCheck:
    """Checks data before the first step, and costs the steps nothing.

    Arrays are checked whole.  Of a stream, a `tf.data.Dataset` or a Python
    generator, the first batch is checked.  A dataset's has to wait until Keras
    draws it: one iterator more would draw another order from a dataset that
    shuffles, and from others that share its shuffling.  That is before the
    first step, but TensorFlow may have counted the step by then.  Batches of
    other objects, such as a `keras.utils.PyDataset`, show their shape only, to
    the step.

    Used as a context around Keras's loop: TensorFlow turns an error in a
    pipeline into one of its own, and this turns it back.
    """

    def __init__(self, model: keras.Model, labelled: bool = True):
        self.rules = DataRules(
            channels=model.input_shape[2],
            num_classes=model.num_classes,
            labels=_kind_of_labels(model) if labelled else None,
            # Pixels in 0..1 deviate by less than one from their mean.
            raw=255 * min(model.std) > 1.01,
        )
        self._error = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if self._error is not None and isinstance(error, Exception):
            raise self._error from None

    def __call__(self, x, y=None):
        """Returns `x`, ready for Keras."""
        if _is_array(x) or _is_nothing(x):
            self._check("x", x, "y", y)
            return x
        return self._stream(x, "x", "y")

    def validation(self, data):
        """The same for `validation_data`."""
        names = "validation_data[0]", "validation_data[1]"
        if _is_array(data) or _is_nothing(data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            self._check(names[0], x, names[1], y)
            return data
        return self._stream(data, *names)

    def _stream(self, data, *names):
        if isinstance(data, Batches):
            self._check_batch(data[0], *names)
            return data.feed()
        if isinstance(data, types.GeneratorType):
            return self._peeked(data, *names)
        tf = sys.modules.get("tensorflow")
        if tf is not None and isinstance(data, tf.data.Dataset):
            return self._watched(data, tf, *names)
        return data

    def _watched(self, dataset, tf, *names):
        spec = dataset.element_spec
        x, y, _ = keras.utils.unpack_x_y_sample_weight(spec)
        self.rules.check_types(names[0], x, names[1], y)

        def look(*flat):
            try:
                self._check_batch(tf.nest.pack_sequence_as(spec, flat), *names)
            except (TypeError, ValueError) as error:
                self._error = error
                raise
            return True

        def watch(index, batch):
            flat = tf.nest.flatten(batch)
            looked = tf.cond(
                index == 0,
                lambda: tf.numpy_function(look, flat, tf.bool),
                lambda: True,
            )
            with tf.control_dependencies([looked]):
                return tf.nest.map_structure(tf.identity, batch)

        return dataset.enumerate().map(watch)

    def _peeked(self, generator, x_name, y_name):
        first = list(itertools.islice(generator, 1))
        for batch in first:
            self._check_batch(batch, x_name, y_name)
        # Keras knows generators by their type.
        return (batch for batch in itertools.chain(first, generator))

    def _check_batch(self, batch, x_name, y_name):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        self._check(x_name, x, y_name, y)

    def _check(self, x_name, x, y_name, y):
        x = _as_numpy(x_name, x)
        # Of labels that we know nothing about there is nothing to check.
        y = _as_numpy(y_name, y) if self.rules.labels else None
        self.rules.check_types(x_name, x, y_name, y)
        self.rules.check_values(x_name, x, y_name, y)


def _kind_of_labels(model):
    """What the loss takes; None if it is one that we do not know."""
    losses = keras.losses
    loss = losses.get(model.loss) if isinstance(model.loss, str) else model.loss
    if model._own_loss or loss is losses.sparse_categorical_crossentropy:
        return "sparse"
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        # The class to ignore may be any number.
        return "sparse" if loss.ignore_class is None else None
    if loss is losses.categorical_crossentropy or isinstance(
        loss, losses.CategoricalCrossentropy
    ):
        return "one-hot"
    return None


def _is_nothing(data):
    """Whether neither we nor Keras know how to take batches from it."""
    return data is None or isinstance(
        data, list | tuple | dict | str | bytes | int | float
    )


def _is_array(data):
    return hasattr(data, "shape") and hasattr(data, "dtype")


def _as_numpy(name, array):
    if array is None or isinstance(array, np.ndarray):
        return array
    if not _is_array(array):
        raise TypeError(
            f"`{name}` must be an array. "
            f"Received: {name}=... of type {type(array).__name__}"
        )
    return keras.ops.convert_to_numpy(array)
