"""The names of the classes that a net predicts."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_davidnet._array_checks import as_array, describe
from keras_davidnet._checks import check_class_names, check_count


def decode_predictions(
    logits, class_names: Sequence[str], top: int = 5
) -> list[list[tuple[str, float]]]:
    """The most probable classes of each image, by name.

    Like `decode_predictions` of the modules of `keras.applications`, for the
    logits and classes of any net, and without their WordNet IDs.

    Args:
        logits: What the net predicts, `(n, num_classes)`: logits, or
            probabilities that add up to 1.
        class_names: Names of the classes in the order of the labels, such as
            `model.class_names`.
        top: Number of classes per image; if there are fewer, all of them.

    Returns:
        For each image a list of pairs `(class_name, score)`, the highest score
        first.  The scores are probabilities, those given or the softmax of the
        logits.

    Raises:
        ValueError: If `logits` is not a batch of logits, or the number of names
            differs from the number of classes.

    Example:

    ```python
    model = recipes.load("airbench94_muon_cifar10")
    logits = model.predict(x_test[:3])
    decode_predictions(logits, model.class_names, top=2)
    ```
    """
    logits = as_array("logits", logits)
    if logits.ndim != 2:
        raise ValueError(
            "`logits` must be of shape (n, num_classes). "
            f"Received: {describe('logits', logits)}"
        )
    class_names = check_class_names(class_names, logits.shape[1])
    check_count("top", top)
    scores = logits.astype("float32")
    are_probabilities = np.allclose(scores.sum(1), 1, atol=1e-3)
    if (scores < 0).any() or not are_probabilities:
        scores = keras.ops.convert_to_numpy(keras.ops.softmax(scores))
    return [
        [(class_names[i], float(row[i])) for i in np.argsort(-row)[:top]]
        for row in scores
    ]
