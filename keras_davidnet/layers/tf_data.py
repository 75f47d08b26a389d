"""Layers inside of `tf.data.Dataset.map`, whatever the backend is."""

import sys
from collections.abc import Callable

import keras
from keras import ops


def in_other_graph(images) -> bool:
    """Whether images are in a TensorFlow graph under another backend."""
    tf = sys.modules.get("tensorflow")
    return (
        tf is not None
        and tf.is_tensor(images)
        and not ops.is_tensor(images)
        and not tf.executing_eagerly()
    )


def call_in_other_graph(layer: Callable, images, compute_dtype: str):
    """Calls a layer that keeps the shape, on the CPU, as `map` runs."""
    tf = sys.modules["tensorflow"]

    def call(array):
        with keras.device("cpu"):
            return ops.convert_to_numpy(layer(array))

    # A layer casts floats only.
    dtype = compute_dtype if images.dtype.is_floating else images.dtype
    outputs = tf.numpy_function(call, [images], dtype)
    outputs.set_shape(images.shape)
    return outputs
