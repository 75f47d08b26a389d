"""Training that begins with smaller images."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_davidnet._checks import check_count


class ProgressiveResizing(keras.callbacks.Callback):
    """Trains an `ImageClassifier` on smaller images first: cheaper steps.

    Images are scaled down in the step, after the augmentation, by linear
    interpolation with antialiasing. The step is compiled once for each size.
    Validation sees the images as they are.

    Args:
        sizes: Mapping of epochs, counted from 0, to the size in pixels that
            begins there: `(height, width)`, or one integer for square images.
            Epochs before the first of these see the images as they are.

    Raises:
        ValueError: If an epoch is negative or a size is not
            positive; when `fit` begins, if the net needs larger images; at the
            first step, if the images are not square and the size is.
        TypeError: If `sizes` is not a mapping; when `fit` begins, if the model
            is not an `ImageClassifier`.

    Example:

    ```python
    resizing = ProgressiveResizing({0: 24, 6: 32})
    model.fit(train_ds, epochs=8, callbacks=[resizing])
    ```

    References:
        - [Howard, 2018](https://www.fast.ai/posts/2018-04-30-dawnbench-fastai.html),
          for DAWNBench.
    """

    def __init__(self, sizes: Mapping[int, int | tuple[int, int]]):
        super().__init__()
        if not isinstance(sizes, Mapping):
            raise TypeError(
                "`sizes` must map epochs to sizes, as {0: 24, 6: 32} does. "
                f"Received: sizes={sizes!r}"
            )
        self.sizes = {
            check_count("epoch", epoch, 0): _check_size(size)
            for epoch, size in sizes.items()
        }

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if not hasattr(model, "training_size"):
            raise TypeError(
                "ProgressiveResizing is for an ImageClassifier. "
                f"Received: a {type(model).__name__}"
            )
        for size in self.sizes.values():
            _check_size(size, model.min_size)

    def on_epoch_begin(self, epoch, logs=None):
        past = [first for first in self.sizes if first <= epoch]
        self.model.training_size = self.sizes[max(past)] if past else None

    def on_train_end(self, logs=None):
        self.restore()

    def restore(self):
        """Trains on the images as they are again."""
        self.model.training_size = None


def _check_size(size, least=1):
    if isinstance(size, tuple | list) and len(size) == 2:
        return tuple(check_count("size", length, least) for length in size)
    return check_count("size", size, least)
