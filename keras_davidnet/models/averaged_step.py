"""The step of a model whose moving statistics are averaged."""

from typing import Any

import keras

from keras_davidnet import _backend
from keras_davidnet.optimizers.grouped import layers_of
from keras_davidnet.optimizers.slow_copies import Averaging


def averaging(model: keras.Model) -> Averaging | None:
    """The part of the model's optimizer that averages its weights."""
    for optimizer in layers_of(model.optimizer):
        if isinstance(optimizer, Averaging):
            return optimizer
    return None


def averaged_step(model: keras.Model, step, *args) -> Any:
    """`step(*args)`; and what averages the weights sees the statistics.

    Args:
        model: The compiled model.
        step: Keras's training step.
        *args: The data; on JAX the state before them.
    """
    average = averaging(model)
    if average is None:
        return step(*args)
    return _backend.averaged_step(model, average, step, *args)
