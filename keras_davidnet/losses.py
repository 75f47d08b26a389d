"""The nets' own loss, and which losses take logits."""

import inspect

import keras
from keras import ops

from keras_davidnet._array_checks import check_label_shape


@keras.saving.register_keras_serializable("keras_davidnet")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross entropy against sparse labels, with label smoothing.

    `keras.losses.SparseCategoricalCrossentropy` has no smoothing.  The target
    of class `c` is `1 - label_smoothing` for `c` and `label_smoothing /
    num_classes` more for all classes.  While `training` is false, as in
    evaluation, there is no smoothing.

    A label that is out of range makes the loss NaN: an empty row of targets
    would have a loss of 0.

    Args:
        from_logits: Whether the outputs are logits.
        label_smoothing: In `[0, 1)`.
        **kwargs: Arguments of `keras.losses.Loss`.
    """

    training = True

    def __init__(
        self,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        name: str = "smoothed_crossentropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        labels, num_classes = flat_labels(y_true), y_pred.shape[-1]
        targets = ops.one_hot(labels, num_classes, dtype="float32")
        known = ops.logical_and(labels >= 0, labels < num_classes)
        targets = ops.where(known[:, None], targets, float("nan"))
        if self.training:
            smoothing = self.label_smoothing
            targets = targets * (1 - smoothing) + smoothing / num_classes
        return keras.losses.categorical_crossentropy(
            targets, y_pred, from_logits=self.from_logits
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
        }


def flat_labels(labels):
    """Sparse labels as int32 of shape `(batch,)`.

    Raises:
        ValueError: If they are of another shape than `(batch,)` or `(batch,
            1)`.
    """
    check_label_shape("y", labels)
    return ops.cast(ops.reshape(labels, (-1,)), "int32")


def check_takes_logits(loss) -> None:
    """Raises a ValueError if a loss of Keras's takes probabilities."""
    for one in keras.tree.flatten(loss):
        if _from_logits(one) is False:
            raise ValueError(
                "The model returns logits, and the loss takes probabilities. "
                "Give compile() one with `from_logits=True`, such as "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True), "
                f"or no loss for the model's own. Received: loss={one!r}"
            )


def _from_logits(loss):
    """Whether a loss takes logits; None if it is not Keras's or has no say."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if not getattr(loss, "__module__", "").startswith("keras."):
        return None
    if isinstance(loss, keras.losses.Loss):
        return loss.get_config().get("from_logits")
    argument = inspect.signature(loss).parameters.get("from_logits")
    return argument and argument.default
