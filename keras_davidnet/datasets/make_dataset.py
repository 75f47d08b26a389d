"""From arrays to batches."""

import numpy as np

from keras_davidnet._array_checks import check_finite
from keras_davidnet._checks import check_count
from keras_davidnet.datasets.batches import Batches
from keras_davidnet.datasets.plan import EpochPlan


def make_dataset(
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    training: bool = False,
    seed: int | None = None,
    alternating_flip: bool = False,
) -> "Batches":
    """Batches of raw images, as `DavidNet` takes them.

    For training the whole set is shuffled anew every epoch and the last,
    incomplete batch is dropped, so that every step is of one size and is
    compiled once.

    Args:
        images: `(n, height, width, channels)`.
        labels: `(n,)` or `(n, 1)`.
        batch_size: Images per batch.
        training: Whether to shuffle and to drop the last, incomplete batch.
        seed: Of shuffling and flips, for the same in every run.
        alternating_flip: Whether to mirror half of the images in the even
            epochs and the others in the odd ones, as `EpochPlan` explains.  The
            images then take twice the memory.

    Returns:
        `Batches` of `(images, labels)`.

    Raises:
        ValueError: If there are not as many labels as images, or fewer images
            than one training batch needs, if `seed` is negative, or if
            `alternating_flip` is asked for without `training`.

    Example:

    ```python
    train_ds = make_dataset(x_train, y_train, 512, training=True, seed=0)
    model.fit(train_ds, epochs=24, shuffle=False)
    ```
    """
    check_count("batch_size", batch_size)
    images, labels = _checked(images, labels)
    if training:
        plan = EpochPlan(len(images), batch_size, seed, alternating_flip)
        return Batches(images, labels, batch_size, plan)
    if seed is not None:
        check_count("seed", seed, 0)
    if alternating_flip:
        raise ValueError(
            "Images are mirrored for training only. "
            f"Received: alternating_flip={alternating_flip}, training=False"
        )
    return Batches(images, labels, batch_size)


def _checked(images, labels):
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or labels.ndim == 0:
        raise ValueError(
            "`images` must be of shape (n, height, width, channels), `labels` "
            f"of shape (n,) or (n, 1). Received: images.shape={images.shape}, "
            f"labels.shape={labels.shape}"
        )
    check_finite("images", images)
    check_finite("labels", labels)
    if len(images) != len(labels):
        raise ValueError(
            "There must be as many labels as images. "
            f"Received: {len(images)} images, {len(labels)} labels"
        )
    return images, labels
