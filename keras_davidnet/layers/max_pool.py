"""Max pooling by the fastest way of each backend."""

import keras

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    import torch

    def pool(images, height, width):
        # Keras copies the images to have the channels first, and what comes
        # after is then slow too; the kernel takes a view as well.
        pooled = torch.nn.functional.max_pool2d(
            images.permute(0, 3, 1, 2), (height, width)
        )
        return pooled.permute(0, 2, 3, 1)

elif BACKEND == "jax":
    from jax import numpy as jnp

    def pool(images, height, width):
        # The gradient of XLA's own pooling takes ten times as long on a CPU.
        batch, rows, columns, channels = images.shape
        windows = images[:, : rows - rows % height, : columns - columns % width]
        windows = windows.reshape(
            batch, rows // height, height, columns // width, width, channels
        )
        largest = windows[:, :, 0, :, 0]
        for i in range(height):
            for j in range(width):
                value = windows[:, :, i, :, j]
                # Of equal values the first has the gradient, as in PyTorch.
                larger = (value > largest) | jnp.isnan(value)
                largest = jnp.where(larger, value, largest)
        return largest


@keras.saving.register_keras_serializable("keras_davidnet")
class FastMaxPooling2D(keras.layers.MaxPooling2D):
    """Keras's layer, faster where the windows do not overlap.

    On TensorFlow, with strides or a padding, and in an export for images of any
    size, it is Keras's layer.
    """

    if BACKEND != "tensorflow":

        def call(self, inputs):
            _, *size, _ = inputs.shape
            if (
                # Symbolic sizes cannot be compared.
                not all(isinstance(s, int) for s in size)
                or self.strides != self.pool_size
                or self.padding != "valid"
                or self.data_format != "channels_last"
            ):
                return super().call(inputs)
            return pool(inputs, *self.pool_size)
