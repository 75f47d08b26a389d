"""Convolution as its backend trains it fast."""

import functools
import math

import keras

BACKEND = keras.backend.backend()
if BACKEND == "jax":
    import jax
    from jax import lax, numpy as jnp

    # Of the images in a part of the batch, so that their patches and gradients
    # stay in the processor's caches.
    PART_BYTES = 3 * 2**17

    @functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
    def convolution(images, kernel, strides, padding):
        """XLA's convolution; the gradients are those of `by_products`."""
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
            by_products, strides=strides, padding=padding
        )
        return jax.jvp(products, values, tangents)

    def by_products(images, kernel, strides, padding):
        """The same as a matrix product for each part of the batch.

        XLA has no fast gradient for kernels on a CPU: it takes a kernel as
        large as the image there.
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

        # Its patches are made anew for the gradient; they take nine times the
        # images' memory.
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


@keras.saving.register_keras_serializable("keras_davidnet")
class FastConv2D(keras.layers.Conv2D):
    """Keras's layer, with fast gradients on JAX on a CPU.

    The outputs in training differ from Keras's by rounding.  On other devices,
    for small batches of small images, with groups or dilation, and under a
    `keras.distribution`, it is Keras's layer; so it is on other backends, but
    that on torch a single filter trains in 16 bits on any processor.
    """

    if BACKEND == "torch":

        def convolution_op(self, inputs, kernel):
            if self.filters == 1:
                # As PyTorch wants it in memory: in 16 bits, where the processor
                # does not compute in them, it fails at Keras's one filter.
                kernel = keras.ops.convert_to_tensor(kernel)
                first = kernel.permute(3, 2, 0, 1).contiguous()
                kernel = first.permute(2, 3, 1, 0)
            return super().convolution_op(inputs, kernel)

    elif BACKEND == "jax":

        def convolution_op(self, inputs, kernel):
            if (
                jax.default_backend() != "cpu"
                # The parts of the batch may lie on several devices.
                or keras.distribution.distribution() is not None
                # Symbolic sizes cannot be divided.
                or not all(isinstance(size, int) for size in inputs.shape)
                # Small ones gain nothing, and parts take longer to compile.
                or _bytes(inputs) <= PART_BYTES
                or self.data_format != "channels_last"
                or self.groups != 1
                or self.dilation_rate != (1, 1)
            ):
                return super().convolution_op(inputs, kernel)
            return convolution(
                inputs,
                keras.ops.convert_to_tensor(kernel),
                self.strides,
                self.padding.upper(),
            )
