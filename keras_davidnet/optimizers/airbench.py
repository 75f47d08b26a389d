"""The optimizers of airbench, with Muon and without."""

from collections.abc import Callable

import keras
import numpy as np

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.optimizers.averaging import Lookahead
from keras_davidnet.optimizers.grouped import GroupedOptimizer
from keras_davidnet.optimizers.muon import Muon
from keras_davidnet.optimizers.sgd import PyTorchSGD
from keras_davidnet.schedules import PiecewiseLinear, total_steps

# Paths of weights.
HEAD = "(.*/)?linear/kernel"
FILTERS = r"(.*/)?group\d/conv\d/kernel"


def airbench_optimizer(
    steps_per_epoch: int = 25,
    epochs: float = 8,
    batch_size: int = 2000,
    *,
    filters_learning_rate: float = 0.24,
    bias_learning_rate: float = 0.053,
    head_learning_rate: float = 0.67,
    weight_decay: float = 2e-6,
    whitening_epochs: float = 3,
    filters_momentum: float = 0.6,
    sgd_momentum: float = 0.85,
    filters_optimizer: keras.optimizers.Optimizer | None = None,
) -> GroupedOptimizer:
    """airbench94_muon's optimizer: Muon on the filters, SGD on the rest.

    All rates fall linearly to 0, from the first step to the last of the
    epochs; for the whitening's bias over the first `whitening_epochs`.
    SGD's numbers are the source's, which sums the loss over the batch: the
    rate for the mean loss is `batch_size` times as high, and the coupled decay
    `weight_decay` over the source's rate.

    Args:
        steps_per_epoch: Number of batches per epoch.
        epochs: Number of epochs, rounded up to whole steps.
        batch_size: Number of images per batch.
        filters_learning_rate: Muon's first rate, for the 3x3 kernels.
        bias_learning_rate: SGD's first rate for the biases, of the summed
            loss.
        head_learning_rate: SGD's first rate for the linear layer, of the
            summed loss.
        weight_decay: SGD's decay, per image of the batch.
        whitening_epochs: Number of epochs that train the whitening's bias,
            rounded up to whole steps.
        filters_momentum: Muon's momentum.
        sgd_momentum: SGD's momentum.
        filters_optimizer: Takes the place of Muon, and `filters_learning_rate`
            and `filters_momentum` have no effect.  Its rate falls to 0 as the
            others do, unless it has a schedule of its own.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If `filters_optimizer` is not an optimizer.
    """
    check_count("batch_size", batch_size)
    check_number("bias_learning_rate", bias_learning_rate, gt=0)
    check_number("head_learning_rate", head_learning_rate, gt=0)
    check_number("whitening_epochs", whitening_epochs, gt=0)
    steps = total_steps(epochs, steps_per_epoch)
    whitening_steps = min(steps, total_steps(whitening_epochs, steps_per_epoch))

    def falling(rate, steps=steps):
        return PiecewiseLinear([0, steps], [rate, 0.0])

    def sgd(rate, name, steps=steps):
        return PyTorchSGD(
            falling(rate * batch_size, steps),
            momentum=sgd_momentum,
            nesterov=True,
            weight_decay=weight_decay / rate,
            name=name,
        )

    if filters_optimizer is None:
        filters = Muon(
            falling(filters_learning_rate),
            momentum=filters_momentum,
            ns_steps=3,
            normalize_weights=True,
            name="filters",
        )
    else:
        filters = _on_schedule(filters_optimizer, falling)
    return GroupedOptimizer(
        sgd(bias_learning_rate, "biases"),
        {
            "(.*/)?whiten/bias": sgd(
                bias_learning_rate, "whitening", whitening_steps
            ),
            HEAD: sgd(head_learning_rate, "head"),
            FILTERS: filters,
        },
        name="airbench",
    )


def airbench_sgd_optimizer(
    steps_per_epoch: int = 48,
    epochs: float = 9.9,
    batch_size: int = 1024,
    *,
    learning_rate: float = 11.5,
    weight_decay: float = 0.0153,
    bias_scale: float = 64.0,
    warmup: float = 0.23,
    final: float = 0.07,
    whitening_epochs: float = 3,
    filters_optimizer: keras.optimizers.Optimizer | None = None,
) -> Lookahead:
    """The optimizer of airbench94, 95 and 96: SGD inside `Lookahead`.

    SGD has Nesterov's momentum, 0.85.  All rates rise linearly from a fifth of
    their peak, then fall linearly; the whitening's bias has a rate of 0 from
    the end of `whitening_epochs`.  The numbers are the source's: rate and decay
    for 1024 images, each to be divided by `1 + 1 / (1 - momentum)`, and the
    decay without the rate in it.

    Args:
        steps_per_epoch: Number of batches per epoch.
        epochs: Number of epochs, rounded up to whole steps.
        batch_size: Number of images per batch.
        learning_rate: The source's rate at the peak; for the mean loss over
            1024 images it is `learning_rate / 7.6667`.
        weight_decay: The source's decay; `weight_decay / learning_rate` is the
            coupled decay.
        bias_scale: Factor on the rate of the batch normalizations' biases,
            whose decay is then as much smaller.
        warmup: Fraction of the steps until the peak.
        final: Last rate, as a fraction of the peak.
        whitening_epochs: Number of epochs that train the whitening's bias,
            rounded up to whole steps.
        filters_optimizer: Takes the place of SGD for the 3x3 kernels.  Its rate
            is that at the peak, unless it has a schedule of its own.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If `filters_optimizer` is not an optimizer.
    """
    check_count("batch_size", batch_size)
    check_number("learning_rate", learning_rate, gt=0)
    check_number("bias_scale", bias_scale, gt=0)
    steps = total_steps(epochs, steps_per_epoch)
    warm = int(check_number("warmup", warmup, ge=0, lt=1) * steps)
    check_number("whitening_epochs", whitening_epochs, gt=0)
    whitening_steps = total_steps(whitening_epochs, steps_per_epoch)
    shape = dict(sorted({0: 0.2, steps: final, warm: 1.0}.items()))
    peak = learning_rate * batch_size / 1024 / (1 + 1 / (1 - 0.85))

    def schedule(rate, end=steps):
        points = shape
        if end < steps:
            # Straight to 0 between two steps.
            last = np.interp(end - 1, [*shape], [*shape.values()])
            points = {k: v for k, v in shape.items() if k < end}
            points |= {end - 1: last, end: 0.0}
        return PiecewiseLinear(
            [*points], [float(rate * v) for v in points.values()]
        )

    def sgd(scale, name, end=steps):
        return PyTorchSGD(
            schedule(scale * peak, end),
            momentum=0.85,
            nesterov=True,
            weight_decay=weight_decay / (learning_rate * scale),
            name=name,
        )

    groups = {
        "(.*/)?whiten/bias": sgd(1.0, "whitening", whitening_steps),
        r"(.*/)?group\d/bn\d/beta": sgd(bias_scale, "biases"),
    }
    if filters_optimizer is not None:
        groups[FILTERS] = _on_schedule(filters_optimizer, schedule)
    grouped = GroupedOptimizer(sgd(1.0, "kernels"), groups, name="airbench")
    return Lookahead(grouped, ramp_steps=steps)


def _on_schedule(
    optimizer: keras.optimizers.Optimizer, schedule: Callable
) -> keras.optimizers.Optimizer:
    """A new optimizer like this one, on the recipe's schedule."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            "`filters_optimizer` must be an optimizer, such as "
            "keras.optimizers.SGD(0.1). "
            f"Received: filters_optimizer={optimizer!r}"
        )
    config = {**optimizer.get_config(), "name": "filters"}
    if isinstance(config["learning_rate"], float):
        config["learning_rate"] = schedule(config["learning_rate"])
    return type(optimizer).from_config(config)
