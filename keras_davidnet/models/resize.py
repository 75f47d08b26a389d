"""Scales images within the training step."""

from keras import ops


def resize(images, size, xla: bool = False):
    """Scales images linearly, with antialiasing.

    Args:
        images: `(batch, height, width, channels)`.
        size: `(height, width)`, or one integer for square images.
        xla: Whether XLA compiles the step. On TensorFlow it has no kernel for
            `ops.image.resize`; the same is then done by matrix products.

    Returns:
        Images of the new size, in the dtype of `images`.

    Raises:
        ValueError: If `size` is an integer and the images are not square.
    """
    shape = tuple(images.shape[1:3])
    if isinstance(size, int):
        if shape[0] != shape[1]:
            raise ValueError(
                "The size of images that are not square must be (height, "
                f"width). Received: size={size}, images of shape "
                f"{tuple(images.shape)}"
            )
        size = size, size
    if shape == tuple(size):
        return images
    if xla:
        return _resize_by_matmul(images, size)
    return ops.image.resize(
        images, size, antialias=True, data_format="channels_last"
    )


def _resize_by_matmul(images, size):
    height, width = ops.shape(images)[1:3]
    x = ops.cast(images, "float32")
    x = ops.einsum("bhwc,hy->bywc", x, _weights(height, size[0]))
    x = ops.einsum("bywc,wx->byxc", x, _weights(width, size[1]))
    return ops.cast(x, images.dtype)


def _weights(old, new):
    """Weights of `old` pixels in each of `new`: triangles around the latter."""
    ratio = ops.cast(old, "float32") / new
    pixels = ops.arange(old, dtype="float32")[:, None] + 0.5
    centers = (ops.arange(new, dtype="float32") + 0.5) * ratio
    weights = ops.relu(1 - ops.abs(pixels - centers) / ops.maximum(ratio, 1.0))
    return weights / ops.sum(weights, axis=0)
