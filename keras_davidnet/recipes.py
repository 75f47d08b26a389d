"""The numbers of the published recipes, in one place.

DavidNet's are those of `dawn.py`, David Page's entry for DAWNBench (2018).  It
sums the loss over the batch, divides the rate by the batch size and multiplies
the decay by it: the same update as the one here, where the loss is the mean
over the batch and every number is per example.
"""

from keras_davidnet.optimizers import PyTorchSGD
from keras_davidnet.schedules import PiecewiseLinear
from keras_davidnet.validation.arguments import (
    check_count,
    check_not_negative,
    check_warmup,
)

# Of CIFAR-10's training set, red, green and blue, in 0..1.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)

BATCH_SIZE = 512
STEPS_PER_EPOCH = 50_000 // BATCH_SIZE


def davidnet_optimizer(
    steps_per_epoch: int = STEPS_PER_EPOCH,
    epochs: int = 24,
    peak: float = 0.4,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    warmup: float | None = None,
) -> PyTorchSGD:
    """DavidNet's optimizer: Nesterov momentum under a triangular rate.

    The rate rises from 0 to `peak` over the first fifth of the epochs and falls
    to 0 at the end of the last; it changes at every step.

    Args:
        steps_per_epoch: Batches an epoch; 97 of 512 for CIFAR-10.
        epochs: Length of the training.
        peak: The highest rate, for the mean loss over a batch.
        momentum: Nesterov momentum.
        weight_decay: Coupled decay of all weights.
        warmup: Fraction of the training in which the rate rises, in (0, 1); by
            default `(epochs + 1) // 5` epochs.

    Raises:
        ValueError: If an argument is out of its range.
    """
    epochs = check_count("epochs", epochs)
    peak = check_not_negative("peak", peak)
    if warmup is None:
        # Fewer than four epochs have no whole one to warm up in.
        peak_epoch = (epochs + 1) // 5 or epochs / 5
    else:
        peak_epoch = check_warmup("warmup", warmup) * epochs
    rate = PiecewiseLinear.from_epochs(
        [0, peak_epoch, epochs], [0.0, peak, 0.0], steps_per_epoch
    )
    return PyTorchSGD(
        rate, momentum=momentum, nesterov=True, weight_decay=weight_decay
    )
