"""Keras's own way, for backends that have nothing faster or need no care."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# Layers


def peek(variable: keras.Variable):
    """A variable as NumPy's; None within a compiled step that hides it."""
    return ops.convert_to_numpy(variable)


def conv(
    images, kernel, strides: tuple[int, int], padding: str, training: bool
):
    """A convolution, channels last, without groups or dilation."""
    return ops.conv(images, kernel, strides, padding, "channels_last")


def max_pool(images, size: tuple[int, int]):
    """Maxima of windows that do not overlap, channels last."""
    return ops.max_pool(images, size, data_format="channels_last")


def activate(activation: Callable, inputs, training: bool):
    """`activation(inputs)`, in a layer that may be training."""
    return activation(inputs)


def celu(inputs, alpha: float, training: bool):
    """`max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`."""
    return keras.activations.celu(inputs, alpha)


def resize(images, size: tuple[int, int], jit_compile: bool):
    """Scales images linearly, with antialiasing, in a step XLA may compile."""
    return ops.image.resize(
        images, size, antialias=True, data_format="channels_last"
    )


def batch_normalization(images, gamma, beta, epsilon, statistics=None):
    """The outputs, and the mean and variance of each channel.

    Args:
        images: `(batch, height, width, channels)`.
        gamma, beta: `(channels,)`, or None.
        epsilon: Added to the variance.
        statistics: The mean and variance; computed from the images by default.
    """
    x = ops.cast(images, "float32")
    mean, variance = statistics or ops.moments(x, (0, 1, 2))
    outputs = ops.batch_normalization(
        x, mean, variance, -1, beta, gamma, epsilon
    )
    return ops.cast(outputs, images.dtype), mean, variance


def kernel_per_group() -> bool:
    """Whether `batch_normalization` of each group is faster than of all."""
    return False


def check_multiple(inputs, groups: int, message: str):
    """The inputs, of a batch size that is known only in the step."""
    return inputs


# Distribution


def replica() -> tuple[Any, int]:
    """The number of the calling replica, and how many replicas there are.

    A replica sees its part of the batch.
    """
    return 0, 1


def variable_scope(model: keras.Model) -> contextlib.AbstractContextManager:
    """The scope in which variables of the model are made."""
    return contextlib.nullcontext()


def check_strategy(model: keras.Model) -> None:
    """Raises a ValueError if Keras cannot train under the model's strategy."""


# Training


def stream(batches):
    """What `fit` hands to Keras for `datasets.Batches`."""
    return batches


def averaged_step(model: keras.Model, average, step: Callable, *args):
    """Runs the step and updates the averages of the batch statistics.

    Args:
        model: The compiled model.
        average: The part of its optimizer that averages weights.
        step: Keras's training step.
        *args: Its arguments: the data, on JAX after the state.
    """
    number = average.before_step()
    logs = step(*args)
    average.after_step(number)
    return logs


def multi_step_train_function(model: keras.Model) -> Callable | None:
    """A faster train function of `steps_per_execution` steps, or None."""
    return None


def restore_on_error(
    model: keras.Model,
) -> contextlib.AbstractContextManager:
    """Restores the model's variables if a step fails."""
    return contextlib.nullcontext()
