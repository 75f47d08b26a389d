"""Losses of logits: targets of labels, and which losses take logits."""

import inspect

import keras
from keras import ops


def one_hot(labels, num_classes: int):
    """Float32 rows of int32 labels of shape `(batch,)`.

    A label out of range gives NaN, and so does the loss then: an empty row
    would have a loss of 0.
    """
    rows = ops.one_hot(labels, num_classes, dtype="float32")
    known = ops.logical_and(labels >= 0, labels < num_classes)
    return ops.where(known[:, None], rows, float("nan"))


def check_takes_logits(loss) -> None:
    """Raises a ValueError if a loss of Keras's takes probabilities."""
    for one in keras.tree.flatten(loss):
        if _from_logits(one) is False:
            raise ValueError(
                "The model gives logits, and the loss takes probabilities. "
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
