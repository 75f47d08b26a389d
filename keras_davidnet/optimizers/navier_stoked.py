"""The optimizer of NAVIER-STOKED."""

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.optimizers.airbench import FILTERS, HEAD
from keras_davidnet.optimizers.grouped import GroupedOptimizer
from keras_davidnet.optimizers.muon import Muon
from keras_davidnet.optimizers.sgd import PyTorchSGD
from keras_davidnet.schedules import PiecewiseLinear, total_steps


def navier_stoked_optimizer(
    steps_per_epoch: int = 48,
    epochs: float = 8.75,
    batch_size: int = 1024,
    *,
    filters_learning_rate: float = 0.18,
    sgd_learning_rate: float = 1.38,
    weight_decay: float = 5e-4,
    warmup: float = 0.25,
) -> GroupedOptimizer:
    """NAVIER-STOKED's optimizer: Muon on the filters, SGD on the rest.

    All rates rise linearly from 0 to their peak, then fall linearly to 0.
    Muon has momentum 0.6 and three iterations and scales the kernels, as
    airbench94_muon's; SGD has Nesterov momentum 0.9.

    Args:
        steps_per_epoch: Number of batches per epoch.
        epochs: Number of epochs, rounded up to whole steps.
        batch_size: Number of images per batch; SGD's rate is proportional to
            it.
        filters_learning_rate: Muon's rate at the peak, for the kernels of the
            groups.
        sgd_learning_rate: SGD's rate at the peak, for the mean loss over 1024
            images.
        weight_decay: Coupled decay of the linear layer; nothing else decays.
        warmup: Fraction of the steps until the peak.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_count("batch_size", batch_size)
    check_number("warmup", warmup, ge=0, lt=1)
    steps = total_steps(epochs, steps_per_epoch)

    def rising_and_falling(peak):
        points = {0: 0.0, warmup * steps: peak, steps: 0.0}
        return PiecewiseLinear([*points], [*points.values()])

    def sgd(name, weight_decay=0.0):
        return PyTorchSGD(
            rising_and_falling(sgd_learning_rate * batch_size / 1024),
            momentum=0.9,
            nesterov=True,
            weight_decay=weight_decay,
            name=name,
        )

    return GroupedOptimizer(
        sgd("others"),
        {
            HEAD: sgd("head", weight_decay),
            FILTERS: Muon(
                rising_and_falling(filters_learning_rate),
                momentum=0.6,
                ns_steps=3,
                normalize_weights=True,
                name="filters",
            ),
        },
        name="navier_stoked",
    )
