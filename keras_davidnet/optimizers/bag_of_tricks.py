"""The optimizer of Page's bag of tricks."""

import warnings

from keras_davidnet._checks import check_number
from keras_davidnet.optimizers.averaging import ExponentialAverage
from keras_davidnet.optimizers.grouped import GroupedOptimizer
from keras_davidnet.optimizers.sgd import CoupledSGD
from keras_davidnet.schedules import PiecewiseLinear, total_steps


def bag_of_tricks_optimizer(
    steps_per_epoch: int = 97,
    epochs: float = 10,
    batch_size: int = 512,
    *,
    peak_learning_rate: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    bias_factor: float = 64.0,
) -> ExponentialAverage:
    """Page's optimizer of 2019: Nesterov momentum, fast biases, an average.

    The rate rises from 0 to its peak over the first fifth of the epochs, falls
    to a tenth of it two epochs before the last ends, and stays there; in less
    than ten epochs it stays for the last fifth of them.  As in the source the
    first step is one step up the slope.  Biases have `bias_factor` times the
    rate, and decay as much less.  The average is the source's, of 970 steps; in
    a run of fewer it follows the net as much faster, and in one of up to 200 a
    warning says that it may still be far behind.

    Args:
        steps_per_epoch: Number of batches per epoch.
        epochs: Number of epochs.
        batch_size: Not used; the rate is the same for every batch size.
        peak_learning_rate: The highest rate, for the mean loss over a batch.
        momentum: Nesterov momentum, with the rate in the velocity.
        weight_decay: Coupled decay of the kernels.
        bias_factor: Rate of the biases over the rate of the kernels.

    Raises:
        ValueError: If an argument is out of its range.
    """
    steps = total_steps(epochs, steps_per_epoch)
    check_number("bias_factor", bias_factor, gt=0)
    if steps <= 200:
        # In half of 36 runs of 50 to 200 steps, on small images.
        warnings.warn(
            "When fit() ends the net has its average, which after so few steps "
            "may be much worse than the net's own last weights: train for more "
            "epochs, or by another recipe. "
            f"Received: {steps} steps; the recipe's own run has 970",
            stacklevel=2,
        )
    flat = min(2, epochs / 5)

    def sgd(factor, name):
        peak = factor * peak_learning_rate
        rate = PiecewiseLinear(
            # The source counts a step before it reads the schedule.
            [
                epoch * steps_per_epoch - 1
                for epoch in (0, epochs / 5, epochs - flat)
            ],
            [0.0, peak, 0.1 * peak],
        )
        return CoupledSGD(
            rate,
            momentum=momentum,
            nesterov=True,
            weight_decay=weight_decay / factor,
            name=name,
        )

    return ExponentialAverage(
        GroupedOptimizer(
            sgd(1.0, "kernels"),
            {".*/beta": sgd(bias_factor, "biases")},
            name="bag_of_tricks",
        ),
        momentum=0.99 ** (5 * max(1, 970 / steps)),
    )
