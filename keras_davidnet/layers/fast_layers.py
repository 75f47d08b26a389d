"""Keras's layers, by the fastest kernels of each backend.

Numbers are Keras's to within rounding; weights are the same.
"""

import keras
from keras import ops

from keras_davidnet import _backend


@keras.saving.register_keras_serializable("keras_davidnet")
class FastConv2D(keras.layers.Conv2D):
    """A convolution alone: channels last, no bias, groups or dilation."""

    def call(self, inputs, training=False):
        return _backend.conv(
            inputs, self.kernel, self.strides, self.padding, training
        )


@keras.saving.register_keras_serializable("keras_davidnet")
class FastMaxPooling2D(keras.layers.MaxPooling2D):
    """Maxima of windows that do not overlap, channels last."""

    def call(self, inputs):
        # Exports take images of any size.
        if not all(isinstance(size, int) for size in inputs.shape[1:3]):
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

    Half the bits take half the time, and integers are drawn alike with XLA and
    without.  The rate is rounded to a multiple of 2**-16.
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        bits = _backend.random_int16(inputs, self.seed_generator.next())
        dropped = min(round(self.rate * 2**16), 2**16 - 1)
        kept = ops.reshape(bits, ops.shape(inputs)) >= dropped - 2**15
        scale = 2**16 / (2**16 - dropped)
        return ops.where(kept, inputs * scale, ops.zeros((), inputs.dtype))


@keras.saving.register_keras_serializable("keras_davidnet")
class FastBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, of images in one kernel.

    The kernel is faster than Keras's simple operations.  It is also
    reproducible: on TensorFlow without XLA, threads decide the order in which
    the gradients of the latter are added up.  Built under a `tf.distribute`
    strategy of several replicas the layer is Keras's synchronized one.
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
        if not self.takes_kernel:
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
        """The outputs, and the mean and variance: those given, or computed."""
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
