"""The optimizer of DavidNet."""

from keras_davidnet._checks import check_number
from keras_davidnet.optimizers.sgd import PyTorchSGD
from keras_davidnet.schedules import PiecewiseLinear, total_steps


def davidnet_optimizer(
    steps_per_epoch: int = 97,
    epochs: float = 24,
    batch_size: int = 512,
    *,
    peak_learning_rate: float = 0.4,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    warmup: float | None = None,
) -> PyTorchSGD:
    """DavidNet's optimizer: Nesterov momentum under a triangular rate.

    The rate rises from 0 to its peak over the first fifth of the epochs and
    falls to 0 at the end of the last; it changes at every step.

    Args:
        steps_per_epoch: Number of batches per epoch.
        epochs: Number of epochs, rounded up to whole steps.
        batch_size: Not used; the rate is the same for every batch size.
        peak_learning_rate: The highest rate, for the mean loss over a batch.
        momentum: Nesterov momentum.
        weight_decay: Coupled decay of all weights.
        warmup: Fraction of the steps in which the rate rises, in (0, 1); by
            default `(epochs + 1) // 5` epochs.

    Raises:
        ValueError: If an argument is out of its range.
    """
    steps = total_steps(epochs, steps_per_epoch)
    if warmup is None:
        # Fewer than four epochs have no whole one to warm up in.
        peak_epoch = (epochs + 1) // 5 or epochs / 5
    else:
        peak_epoch = check_number("warmup", warmup, gt=0, lt=1) * epochs
    check_number("peak_learning_rate", peak_learning_rate, ge=0)
    rate = PiecewiseLinear(
        [0, peak_epoch * steps_per_epoch, steps],
        [0.0, peak_learning_rate, 0.0],
    )
    return PyTorchSGD(
        rate, momentum=momentum, nesterov=True, weight_decay=weight_decay
    )
