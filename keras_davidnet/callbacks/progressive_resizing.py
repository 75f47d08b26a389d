"""Training that begins with smaller images."""

from collections.abc import Mapping
from typing import Any

from keras_davidnet._checks import check_number, check_size
from keras_davidnet.callbacks.fit_hooks import FitHooks
from keras_davidnet.schedules import total_steps


class ProgressiveResizing(FitHooks):
    """Trains an `ImageClassifier` on smaller images first: faster steps.

    Images are scaled down in the step, after the augmentation, by linear
    interpolation with antialiasing. The step is compiled once for each size.
    Validation sees the images as they are.

    Args:
        sizes: Mapping of epochs, counted from 0, to the size in pixels that
            begins there: `(height, width)`, or one integer for square images.
            At 1.25 it begins after a quarter of the second epoch.  Before the
            first of these, images keep their size.

    Raises:
        ValueError: If an epoch is negative or a size is not
            positive; when `fit` begins, if the net needs larger images, if a
            size begins within an epoch and the number of steps in one is not
            known, or if it begins within the `steps_per_execution` steps that
            run at once; at the first step, if the images are not square and
            the size is.
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

    def __init__(self, sizes: Mapping[float, int | tuple[int, int]]):
        super().__init__()
        if not isinstance(sizes, Mapping):
            raise TypeError(
                "`sizes` must map epochs to sizes, as {0: 24, 6: 32} does. "
                f"Received: sizes={sizes!r}"
            )
        self.sizes = {
            check_number("epoch", epoch, ge=0): check_size("size", size)
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
            check_size("size", size, model.min_size)

    def on_train_begin(self, logs=None):
        steps, at_once = self.params["steps"], self.model.steps_per_execution
        for epoch in self.sizes:
            if epoch.is_integer():
                continue
            if steps is None:
                raise ValueError(
                    "A size that begins within an epoch needs the length of "
                    "one: give fit() `steps_per_epoch`. "
                    f"Received: sizes={self.sizes}, steps_per_epoch=None"
                )
            if total_steps(epoch, steps) % steps % at_once:
                raise ValueError(
                    f"A size begins at step {total_steps(epoch, steps)}, which "
                    "must be a multiple of the steps that run at once. "
                    f"Received: sizes={self.sizes}, "
                    f"steps_per_execution={at_once}"
                )

    def on_epoch_begin(self, epoch, logs=None):
        past = [first for first in self.sizes if first <= epoch]
        self.model.training_size = self.sizes[max(past)] if past else None
        self._later = {
            total_steps(first - epoch, self.params["steps"]): size
            for first, size in sorted(self.sizes.items())
            if epoch < first < epoch + 1
        }

    def on_train_batch_begin(self, batch, logs=None):
        # On JAX the mere look at `self.model` brings the weights back into it.
        if batch in self._later:
            self.model.training_size = self._later[batch]

    def restore(self):
        """Switches resizing off."""
        # `fit` may fail before it gives its model to the callbacks.
        if self.model is not None:
            self.model.training_size = None
