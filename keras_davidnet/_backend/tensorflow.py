"""TensorFlow: fused kernels, and `tf.distribute`."""

# Pyright takes `tensorflow` for this module.
# pyright: reportAttributeAccessIssue=false

import contextlib
import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_davidnet._backend import stock

__all__ = [
    "activate",
    "batch_normalization",
    "celu",
    "check_multiple",
    "check_strategy",
    "conv",
    "kernel_per_group",
    "peek",
    "random_int16",
    "replica",
    "resize",
    "set_threads",
    "stream",
    "variable_scope",
]


# Height and width up to which `conv_by_taps` is the faster one.
SMALL_MAP = 8


def peek(variable):
    with tf.init_scope():  # out of the step that is being traced
        return keras.ops.convert_to_numpy(variable)


def conv(images, kernel, strides, padding, training):
    # Keras would leave it a variable.
    kernel = tf.convert_to_tensor(kernel)
    if (
        # Other runtimes cannot take a gradient of one's own.
        training
        and (strides, padding) == ((1, 1), "same")
        and images.dtype == kernel.dtype == "bfloat16"
        and all(size and size <= SMALL_MAP for size in images.shape[1:3])
        and not tf.config.list_physical_devices("GPU")
    ):
        return conv_by_taps(images, kernel)
    return stock.conv(images, kernel, strides, padding, training)


@tf.custom_gradient
def conv_by_taps(images, kernel):
    """TensorFlow's convolution; its kernel's gradient by matrix products.

    oneDNN's takes up to ten times as long for small images in bfloat16.  One
    product for each weight of a filter's channel is fast, and leaves out the
    zeros around the images.
    """

    def gradients(upstream):
        return (
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding="SAME",
            ),
            kernel_gradient(images, upstream, kernel.shape),
        )

    return tf.nn.conv2d(images, kernel, 1, "SAME"), gradients


def kernel_gradient(images, upstream, shape):
    height, width, channels, filters = shape

    def product(down, right):
        """Product of the pixels at this offset and the outputs' gradient."""
        x = shifted(shifted(images, down, 1), right, 2)
        y = shifted(shifted(upstream, -down, 1), -right, 2)
        return tf.matmul(
            tf.reshape(x, (-1, channels)),
            tf.reshape(y, (-1, filters)),
            transpose_a=True,
        )

    products = [
        product(row - (height - 1) // 2, column - (width - 1) // 2)
        for row in range(height)
        for column in range(width)
    ]
    return tf.reshape(tf.stack(products), shape)


def shifted(images, by, axis):
    """Without the first rows or columns, or without the last."""
    size = images.shape[axis]
    kept = slice(max(0, by), max(0, size + min(0, by)))
    return images[(*[slice(None)] * axis, kept)]


def batch_normalization(images, gamma, beta, epsilon, statistics=None):
    training = statistics is None
    channels = images.shape[-1]
    mean, variance = statistics or ([], [])
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.ones(channels) if gamma is None else gamma,
        offset=tf.zeros(channels) if beta is None else beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=training,
    )
    if training:
        # The kernel's variance is the unbiased one; Keras keeps the biased.
        n = tf.cast(tf.size(images) // channels, variance.dtype)
        variance = variance * (n - 1) / n
    return outputs, mean, variance


def resize(images, size, jit_compile):
    if not jit_compile:
        return stock.resize(images, size, jit_compile)
    # XLA has no kernel for it: two matrix products are the same.
    height, width = images.shape[1:3]
    x = tf.cast(images, "float32")
    x = tf.einsum("bhwc,hy->bywc", x, _triangles(height, size[0]))
    x = tf.einsum("bywc,wx->byxc", x, _triangles(width, size[1]))
    return tf.cast(x, images.dtype)


def _triangles(old, new):
    """Weights of `old` pixels in each of `new`: triangles around the latter."""
    ratio = old / new
    pixels = np.arange(old)[:, None] + 0.5
    centers = (np.arange(new) + 0.5) * ratio
    weights = np.maximum(0, 1 - np.abs(pixels - centers) / max(ratio, 1))
    return (weights / weights.sum(axis=0)).astype("float32")


def kernel_per_group() -> bool:
    # A GPU has XLA, which fuses the operations itself.
    return not tf.config.list_physical_devices("GPU")


def check_multiple(inputs, groups, message):
    remainder = tf.shape(inputs)[0] % groups
    with tf.control_dependencies(
        [tf.debugging.assert_equal(remainder, 0, message)]
    ):
        return tf.identity(inputs)


def random_int16(inputs, seed):
    """As many as there are inputs, uniform over all integers of 16 bits."""
    # The replicas of a strategy hold the same seed.
    index, _ = replica()
    size = tf.size(inputs)
    bits = tf.random.stateless_uniform(
        [(size + 1) // 2],
        seed=tf.cast(seed, "int32") + tf.stack([index, 0]),
        # All 32 bits, which TensorFlow's types forget.
        minval=None,  # pyright: ignore[reportArgumentType]
        maxval=None,
        dtype="int32",
    )
    return tf.reshape(tf.bitcast(bits, "int16"), [-1])[:size]


def widen(x):
    """In float32 at least: in 16 bits most operations are slower."""
    return tf.cast(x, x.dtype if x.dtype.size > 2 else "float32")


def in_float32(function):

    def call(x, *arguments):
        return tf.cast(function(widen(x), *arguments), x.dtype)

    return call


@functools.cache
def fused_elementwise(function, *arguments):
    """`function(x, *arguments)` in one pass over memory, compiled by XLA.

    Not for inference: what XLA compiles, other runtimes cannot take.
    """

    @tf.function(jit_compile=True, autograph=False)
    def values(x):
        return in_float32(function)(x, *arguments)

    @tf.function(jit_compile=True, autograph=False)
    def gradients(x, upstream):
        inputs = widen(x)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(inputs, *arguments)
        gradient = tape.gradient(outputs, inputs, widen(upstream))
        return tf.cast(gradient, x.dtype)

    @tf.custom_gradient
    def call(x):
        return values(x), lambda upstream: gradients(x, upstream)

    return call


@in_float32
def exact_gelu(x):
    """As PyTorch has it; ONNX lacks the `erfc` of TensorFlow's."""
    return 0.5 * x * (1 + tf.math.erf(0.5**0.5 * x))


def unfused_tanh(x):
    """Its signs keep it apart from a convolution and normalization before it.

    TensorFlow fuses the three on a CPU, which oneDNN then cannot compute.
    """
    return -tf.tanh(-x)


FOR_INFERENCE = {
    keras.activations.gelu: exact_gelu,
    keras.activations.tanh: unfused_tanh,
    keras.activations.mish: lambda x: x * unfused_tanh(tf.math.softplus(x)),
}


def activate(activation, inputs, training):
    # Only GELU and SiLU need fusing; the other activations used here are single
    # operations.
    if not training:
        activation = FOR_INFERENCE.get(activation, activation)
    elif activation in (keras.activations.gelu, keras.activations.silu):
        activation = fused_elementwise(activation)
    return activation(inputs)


@in_float32
def scaled_elu(x, alpha):
    # Keras's `celu` has three passes more, and at 0 a gradient of 2: both of
    # its branches count there.
    return alpha * tf.nn.elu(x / alpha)


def celu(inputs, alpha, training):
    if training:
        return fused_elementwise(scaled_elu, alpha)(inputs)
    return scaled_elu(inputs, alpha)


def replica() -> tuple[Any, int]:
    context = tf.distribute.get_replica_context()
    index = context.replica_id_in_sync_group if context else 0
    return index, tf.distribute.get_strategy().num_replicas_in_sync


def variable_scope(model: keras.Model) -> contextlib.AbstractContextManager:
    return model.distribute_strategy.scope()


def check_strategy(model: keras.Model) -> None:
    strategy = model.distribute_strategy
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "Keras 3 does not train under MultiWorkerMirroredStrategy. For "
            "several machines use JAX, keras.distribution.initialize() and "
            "keras.distribution.DataParallel(). "
            f"Received: strategy={strategy}"
        )


def stream(batches):
    # Keras's own path for a PyDataset takes about a second longer per epoch.
    return batches.tf_dataset()


def set_threads(count: int) -> None:
    # One operation at a time uses many; operations side by side are few.
    tf.config.threading.set_intra_op_parallelism_threads(count)
