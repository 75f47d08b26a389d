"""JAX: what XLA does slowly on a CPU, and steps that work on a state."""

# Pyright takes `jax` for this module.
# pyright: reportAttributeAccessIssue=false

import contextlib
import functools
import itertools
import math
import os

import jax
import keras
from jax import lax, numpy as jnp

from keras_davidnet._backend import stock

__all__ = [
    "averaged_step",
    "conv",
    "max_pool",
    "multi_step_train_function",
    "peek",
    "random_int16",
    "restore_on_error",
    "set_threads",
]

# Bytes of images in a part of the batch: its patches and gradients then stay in
# the processor's caches.
PART_BYTES = 3 * 2**17


def peek(variable):
    if isinstance(variable.value, jax.core.Tracer):
        return None
    return keras.ops.convert_to_numpy(variable)


def conv(inputs, kernel, strides, padding, training):
    if (
        jax.default_backend() != "cpu"
        # The parts of the batch may lie on several devices.
        or keras.distribution.distribution() is not None
        # Symbolic sizes cannot be divided.
        or not all(isinstance(size, int) for size in inputs.shape)
        # Small ones gain nothing, and parts take longer to compile.
        or _bytes(inputs) <= PART_BYTES
    ):
        return stock.conv(inputs, kernel, strides, padding, training)
    kernel = keras.ops.convert_to_tensor(kernel)
    inputs = keras.ops.cast(inputs, kernel.dtype)
    return convolution(inputs, kernel, strides, padding.upper())


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def convolution(images, kernel, strides, padding):
    """XLA's convolution, with the gradients of `matrix_products`."""
    return lax.conv_general_dilated(
        images,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@convolution.defjvp
def _(strides, padding, values, tangents):
    products = functools.partial(
        matrix_products, strides=strides, padding=padding
    )
    return jax.jvp(products, values, tangents)


def matrix_products(images, kernel, strides, padding):
    """The same convolution, as a matrix product for each part of the batch.

    XLA has no fast gradient for kernels on a CPU: it takes a kernel as large as
    the image there.
    """
    height, width, channels, filters = kernel.shape
    pads = lax.padtype_to_pads(
        images.shape[1:3], kernel.shape[:2], strides, padding
    )
    rows, columns = (
        (size + sum(pad) - window) // stride + 1
        for size, pad, window, stride in zip(
            images.shape[1:3], pads, kernel.shape[:2], strides, strict=True
        )
    )
    down, right = strides

    # The patches take nine times the images' memory: the gradient makes them
    # again.
    @jax.checkpoint
    def product(part):
        part = jnp.pad(part, ((0, 0), *pads, (0, 0)))
        patches = [
            part[
                :,
                i : i + down * (rows - 1) + 1 : down,
                j : j + right * (columns - 1) + 1 : right,
            ]
            for i in range(height)
            for j in range(width)
        ]
        matrix = kernel.reshape(-1, filters).astype(part.dtype)
        return jnp.concatenate(patches, axis=-1) @ matrix

    # The gradients of the parts are added in 32 bits.
    kernel = kernel.astype(jnp.promote_types("float32", kernel.dtype))
    batch = len(images)
    most = max(1, PART_BYTES * batch // _bytes(images))
    size = max(n for n in range(1, min(batch, most) + 1) if batch % n == 0)
    outputs = lax.map(product, images.reshape(-1, size, *images.shape[1:]))
    return outputs.reshape(batch, rows, columns, filters)


def _bytes(array):
    return math.prod(array.shape) * array.itemsize


def max_pool(images, size):
    # The gradient of XLA's own pooling takes ten times as long on a CPU.
    height, width = size
    batch, rows, columns, channels = images.shape
    windows = images[:, : rows - rows % height, : columns - columns % width]
    windows = windows.reshape(
        batch, rows // height, height, columns // width, width, channels
    )
    largest = windows[:, :, 0, :, 0]
    for i in range(height):
        for j in range(width):
            value = windows[:, :, i, :, j]
            # The first of equal values has the gradient, as in PyTorch.
            larger = (value > largest) | jnp.isnan(value)
            largest = jnp.where(larger, value, largest)
    return largest


def random_int16(inputs, seed):
    """As many as there are inputs, uniform over all integers of 16 bits."""
    # Not 16 at once: JAX moves those into their place in four passes.
    bits = jax.random.bits(seed, ((inputs.size + 1) // 2,), "uint32")
    bits = lax.bitcast_convert_type(bits, "int16")
    return bits.reshape(-1)[: inputs.size]


def averaged_step(model, average, step, *args):
    state, data = args
    number, state = _call_on_state(model, state, average.before_step)
    logs, state = step(state, data)
    after_step = functools.partial(average.after_step, number)
    _, state = _call_on_state(model, state, after_step)
    return logs, state


def _call_on_state(model, state, function):
    """Result of a function that changes variables, and their new state."""
    trained, others, optimizers, metrics = state
    variables = model.non_trainable_variables + model.optimizer.variables
    with keras.StatelessScope(
        zip(variables, [*others, *optimizers], strict=True)
    ) as scope:
        result = function()
    values = [scope.get_current_value(variable) for variable in variables]
    count = len(others)
    return result, (trained, values[:count], values[count:], metrics)


def multi_step_train_function(model):
    """One program; Keras 3.15 calls the compiled step from a loop in Python."""
    count = model.steps_per_execution
    if (
        # Keras does it itself: remove this once 3.16 is the lowest version.
        tuple(map(int, keras.version().split(".")[:2])) >= (3, 16)
        or count == 1
        or not model.jit_compile
        or model.run_eagerly
        # Batches that are spread over devices are not put together.
        or keras.distribution.distribution() is not None
    ):
        return None
    step = model.train_step

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, batches, made):
        data = jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)

        def one(index, carry):
            _, state = carry
            batch = jax.tree.map(lambda array: array[index], data)
            logs, new = step(state, batch)
            return logs, jax.tree.unflatten(
                jax.tree.structure(state), jax.tree.leaves(new)
            )

        shapes, _ = jax.eval_shape(step, state, batches[0])
        logs = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        return lax.fori_loop(0, made, one, (logs, state))

    def train_function(state, iterator):
        batches = list(itertools.islice(iterator, count))
        if not batches:
            raise StopIteration
        # The last batch of an epoch may be smaller.
        for _, group in itertools.groupby(
            batches, lambda batch: [a.shape for a in jax.tree.leaves(batch)]
        ):
            group = list(group)
            # Pad to `count` so that a shorter group does not recompile.
            padded = group + group[-1:] * (count - len(group))
            logs, state = run(state, padded, len(group))
        return logs, state

    return train_function


@contextlib.contextmanager
def restore_on_error(model):
    # Keras takes the variables out of the model while it evaluates or predicts,
    # and restores them after an error in `fit` only (keras#21019).
    values = [(variable, variable.value) for variable in model.variables]
    try:
        yield
    except Exception:
        for variable, value in values:
            variable.assign(value)
        raise


def set_threads(count: int) -> None:
    # XLA reads it when the first array is made.
    os.environ["PJRT_NPROC"] = str(count)
