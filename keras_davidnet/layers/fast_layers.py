"""Keras's layers, by the fastest kernels of each backend.

Numbers are Keras's to within rounding; weights and arguments are the same.
"""

import keras
from keras import ops

from keras_davidnet import _backend


@keras.saving.register_keras_serializable("keras_davidnet")
class FastConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, with fast gradients on JAX on a CPU."""

    def convolution_op(self, inputs, kernel):
        return _backend.conv(
            inputs,
            kernel,
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
        )


@keras.saving.register_keras_serializable("keras_davidnet")
class FastMaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D`, faster where windows do not overlap."""

    def call(self, inputs):
        if (
            self.strides != self.pool_size
            or self.padding != "valid"
            or self.data_format != "channels_last"
            # Exports take images of any size.
            or not all(isinstance(size, int) for size in inputs.shape[1:3])
        ):
            return super().call(inputs)
        return _backend.max_pool(inputs, self.pool_size)


@keras.saving.register_keras_serializable("keras_davidnet")
class FastActivation(keras.layers.Activation):
    """`keras.layers.Activation`, in one pass over memory."""

    def call(self, inputs, training=False):
        return _backend.activate(self.activation, inputs, training)


@keras.saving.register_keras_serializable("keras_davidnet")
class FastDropout(keras.layers.Dropout):
    """`keras.layers.Dropout`, but draws 16 bits per element, not a float.

    Dropout's cost is random number generation, and half the bits halve it.
    Integers are also drawn alike with XLA and without; floats are not.  The
    rate is rounded to a multiple of 2**-16, and what is left is scaled by the
    rounded rate, so that the mean stays exact.  With `noise_shape` it is
    Keras's layer.
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0 or self.noise_shape is not None:
            return super().call(inputs, training=training)
        bits = _backend.random_int16(inputs, self.seed_generator.next())
        dropped = min(round(self.rate * 2**16), 2**16 - 1)
        kept = ops.reshape(bits, ops.shape(inputs)) >= dropped - 2**15
        scale = 2**16 / (2**16 - dropped)
        return ops.where(kept, inputs * scale, ops.zeros((), inputs.dtype))


@keras.saving.register_keras_serializable("keras_davidnet")
class FastBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, of images in one kernel.

    Keras composes it of simple operations, each of which passes over the images
    once.  On TensorFlow without XLA their gradients are added up in an order
    that the threads decide: the last bits differ from run to run.  The kernel
    is faster and reproducible.  It is Keras's layer with renormalization, in
    training with a mask, for inputs that are not images with the channels last,
    and where the weights are not float32; and Keras's synchronized layer if
    built under a `tf.distribute` strategy of several replicas.
    """

    def build(self, input_shape):
        _, replicas = _backend.replica()
        self.synchronized = replicas > 1
        super().build(input_shape)

    @property
    def takes_kernel(self) -> bool:
        """Whether the kernel computes what the layer does."""
        return (
            self.input_spec.ndim == 4
            and self.axis in (-1, 3)
            and self.variable_dtype == "float32"
            and not self.synchronized
            and not self.renorm
        )

    def call(self, inputs, training=None, mask=None):
        training = training and self.trainable
        if not self.takes_kernel or (training and mask is not None):
            return super().call(inputs, training=training, mask=mask)
        if training:
            outputs, *statistics = self.normalize(inputs)
            self.update_statistics(*statistics)
        else:
            moving = self.moving_mean, self.moving_variance
            statistics = tuple(map(ops.convert_to_tensor, moving))
            outputs, *_ = self.normalize(inputs, statistics)
        return outputs

    def normalize(self, images, statistics=None):
        """The outputs, and the mean and variance of each channel.

        The statistics may be given; else they are computed.
        """
        return _backend.batch_normalization(
            ops.cast(images, self.compute_dtype),
            ops.convert_to_tensor(self.gamma) if self.scale else None,
            ops.convert_to_tensor(self.beta) if self.center else None,
            self.epsilon,
            statistics,
        )

    def update_statistics(self, mean, variance):
        """Moves the moving statistics towards a batch's."""
        for moving, batch in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(
                self.momentum * moving
                + (1 - self.momentum) * ops.cast(batch, moving.dtype)
            )
