"""`tf.data` pipelines over arrays."""

from typing import TYPE_CHECKING

import numpy as np

from keras_davidnet._checks import check_count
from keras_davidnet.datasets.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from keras_davidnet.datasets.order import EpochOrder
from keras_davidnet.validation.arrays import check_finite

if TYPE_CHECKING:
    import tensorflow as tf

_PADDING = 4


def make_dataset(
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    training: bool = False,
    seed: int | None = None,
) -> "tf.data.Dataset":
    """Batches of raw images, as `DavidNet` takes them.

    For training the whole set is shuffled anew every epoch and the last,
    incomplete batch is dropped, so that every step is of one size and is
    compiled once.

    Args:
        images: `(n, height, width, channels)`.
        labels: `(n,)` or `(n, 1)`.
        batch_size: Images a batch.
        training: Whether to shuffle and to drop the last, incomplete batch.
        seed: Of the shuffling, for the same order in every run.

    Returns:
        A `tf.data.Dataset` of `(images, labels)` batches, of known length.  In
        training its attribute `order` holds the number of the epoch to come,
        `order.epoch`; `keras_davidnet.Resume` sets it.

    Raises:
        ValueError: If there are not as many labels as images, or fewer images
            than one training batch needs, or if `seed` is negative.
        ImportError: If TensorFlow is not installed; `fit` takes arrays too.
    """
    tf = _tensorflow()
    images, labels = _checked(images, labels, batch_size, training, seed)
    # Indices are shuffled and a batch is gathered at a time: images one by one
    # would be slower.
    with tf.device("CPU"):
        images, labels = tf.constant(images), tf.constant(labels)
    if training:
        order = EpochOrder(len(images), batch_size, seed)

        def next_order(_):
            batches = tf.numpy_function(order, [], "int64")
            batches = tf.ensure_shape(batches, order.shape)
            return tf.data.Dataset.from_tensor_slices(batches)

        indices = tf.data.Dataset.range(1).flat_map(next_order)
        indices = indices.apply(
            tf.data.experimental.assert_cardinality(order.shape[0])
        )
    else:
        indices = tf.data.Dataset.range(len(images)).batch(batch_size)
    dataset = _prefetched(
        indices.map(lambda i: (tf.gather(images, i), tf.gather(labels, i)))
    )
    if training:
        dataset.order = order
    return dataset


def make_host_dataset(
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    training: bool = False,
    seed: int | None = None,
    mean: tuple[float, ...] = CIFAR10_MEAN,
    std: tuple[float, ...] = CIFAR10_STD,
) -> "tf.data.Dataset":
    """The recipe's own pipeline, which prepares the images on the host.

    For training the images are reflect-padded once, then each is randomly
    cropped and flipped; all are normalised.  `DavidNet` does the same inside
    its compiled step; this is for other models and for comparison.  A DavidNet
    fed by it must leave the images as they are: `DavidNet(mean=(0, 0,
    0), std=(1 / 255,) * 3, augmentation=None)`.

    Args:
        images: `(n, height, width, channels)`, in 0..255.
        labels: `(n,)` or `(n, 1)`.
        batch_size: Images a batch.
        training: Whether to augment, to shuffle and to drop the last,
            incomplete batch.
        seed: Of shuffling and augmentation.
        mean: Of the training set, one number a channel, for images in 0..1.
        std: Its standard deviation, likewise.

    Returns:
        A `tf.data.Dataset` of `(images, labels)` batches, of known length; the
        images are float32.

    Raises:
        ValueError: As for `make_dataset`.
        ImportError: If TensorFlow is not installed.
    """
    tf = _tensorflow()
    images, labels = _checked(images, labels, batch_size, training, seed)
    size = images.shape[1:]
    if training:
        border = (_PADDING, _PADDING)
        images = np.pad(images, ((0, 0), border, border, (0, 0)), "reflect")
    with tf.device("CPU"):
        images, labels = tf.constant(images), tf.constant(labels)

    def normalise(image):
        return (tf.cast(image, "float32") / 255 - mean) / std

    def plain(i):
        return normalise(images[i]), labels[i]

    def augmented(i, seeds):
        image = tf.image.stateless_random_crop(images[i], size, seeds[:2])
        image = tf.image.stateless_random_flip_left_right(image, seeds[2:])
        return normalise(image), labels[i]

    dataset = tf.data.Dataset.range(len(images))
    if training:
        # A seed an image and epoch: stateful draws would come in the order in
        # which parallel calls happen to run.
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
        dataset = tf.data.Dataset.zip(
            dataset.shuffle(len(images), seed=seed), seeds.batch(4)
        ).map(augmented, tf.data.AUTOTUNE)
    else:
        dataset = dataset.map(plain, tf.data.AUTOTUNE)
    return _prefetched(dataset.batch(batch_size, drop_remainder=training))


def _tensorflow():
    try:
        import tensorflow
    except ImportError as error:
        raise ImportError(
            "The pipelines of keras_davidnet.datasets need TensorFlow, on "
            "every backend: pip install tensorflow. Without it, pass the "
            "arrays to fit() themselves."
        ) from error
    return tensorflow


def _prefetched(dataset):
    # Autotuning is off: its thread looks at the pipeline at intervals that
    # double up to a minute, and an iterator, so an epoch of fit, often ends
    # only when the interval does.
    options = _tensorflow().data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(4).with_options(options)


def _checked(images, labels, batch_size, training, seed):
    check_count("batch_size", batch_size)
    if seed is not None:
        check_count("seed", seed, 0)
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4:
        raise ValueError(
            "`images` must be of shape (n, height, width, channels). "
            f"Received: images.shape={images.shape}"
        )
    if labels.ndim == 0:
        raise ValueError(
            "`labels` must be of shape (n,) or (n, 1). "
            f"Received: labels={labels}"
        )
    for name, array in (("images", images), ("labels", labels)):
        check_finite(name, array)
    if len(images) != len(labels):
        raise ValueError(
            "There must be as many labels as images. "
            f"Received: {len(images)} images, {len(labels)} labels"
        )
    if len(images) < (batch_size if training else 1):
        raise ValueError(
            "There must be images for one batch, or an epoch would have no "
            f"step. Received: {len(images)} images, batch_size={batch_size}"
        )
    return images, labels
