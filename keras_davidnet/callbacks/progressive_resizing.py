"""Training that begins with smaller images."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_davidnet._checks import check_count


class ProgressiveResizing(keras.callbacks.Callback):
    """Trains an `ImageClassifier` on smaller images first: cheaper steps.

    Images are scaled down in the step, after the augmentation, by linear
    interpolation with antialiasing.  Each size is compiled anew.  Validation
    sees the images as they are.

    Args:
        sizes: Height and width in pixels, by the first epoch that has them,
            counted from 0.  Epochs before the first of these see the images as
            they are.

    Raises:
        ValueError: If `sizes` is empty, an epoch is negative or a size is not
            positive; at the beginning of `fit`, if the net needs larger images.
        TypeError: If `sizes` is not a mapping; at the beginning of `fit`, if
            the model is no `ImageClassifier`.

    Example:

    ```python
    resizing = ProgressiveResizing({0: 24, 6: 32})
    model.fit(train_ds, epochs=8, callbacks=[resizing])
    ```

    References:
        - [Howard, 2018](https://www.fast.ai/posts/2018-04-30-dawnbench-fastai.html),
          who trained so for DAWNBench.
    """

    def __init__(self, sizes: Mapping[int, int]):
        super().__init__()
        if not isinstance(sizes, Mapping):
            raise TypeError(
                "`sizes` must map epochs to sizes, as {0: 24, 6: 32} does. "
                f"Received: sizes={sizes!r}"
            )
        if not sizes:
            raise ValueError("`sizes` must not be empty. Received: sizes={}")
        self.sizes = {
            check_count("epoch", epoch, 0): check_count("size", size)
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
            check_count("size", size, model.smallest)

    def on_epoch_begin(self, epoch, logs=None):
        begun = [first for first in self.sizes if first <= epoch]
        self.model.training_size = self.sizes[max(begun)] if begun else None
