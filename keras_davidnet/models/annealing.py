"""The learning rate over a `fit`: where it ends, and where it should."""

import math
import warnings

import keras

from keras_davidnet.datasets import Batches
from keras_davidnet.optimizers.grouped import members
from keras_davidnet.schedules import PiecewiseLinear


def rate_configs(optimizer: keras.optimizers.Optimizer) -> list:
    """The learning rate of each member, or the config of its schedule."""
    rates = [o.get_config()["learning_rate"] for o in members(optimizer)]
    # What stands beside the config depends on who asks.
    return [r["config"] if isinstance(r, dict) else r for r in rates]


def size_of_epoch(x, batch_size, validation_split) -> dict:
    """`steps_per_epoch` and `batch_size` of `fit`, as far as the data tell."""
    if hasattr(x, "shape"):
        batch_size = batch_size or 32
        n = math.floor(x.shape[0] * (1 - validation_split))
        steps = math.ceil(n / batch_size)
        return {"steps_per_epoch": steps, "batch_size": batch_size}
    size = {"batch_size": x.batch_size} if isinstance(x, Batches) else {}
    try:
        return {"steps_per_epoch": len(x), **size}
    # A generator has no length, a pipeline may not know it.
    except (TypeError, NotImplementedError):
        return size


def set_rates(optimizer, rates: list, first_step: int) -> None:
    """Gives the members of an optimizer these rates, from `first_step` on."""
    for member, config in zip(members(optimizer), rates, strict=True):
        schedule = PiecewiseLinear.from_config(config)
        member.learning_rate = schedule.shifted(first_step)


def warn_of_rates(optimizer, last_step: int) -> bool:
    """Warns if the rate does not end where `fit` does; whether it did."""
    rates = [
        config
        for config in rate_configs(optimizer)
        if isinstance(config, dict) and "knots" in config
    ]
    if not rates:
        return False
    # Some groups may be done before the others.
    longest = max(rates, key=lambda rate: rate["knots"][-1])
    knot, value = longest["knots"][-1], longest["values"][-1]
    if knot > last_step:
        effect = "the rate does not come to its end"
    elif knot < last_step and value == 0:
        effect = "the steps between change nothing"
    else:
        return False
    warnings.warn(
        f"The learning rate's last knot is at step {knot:g}, and fit() ends at "
        f"step {last_step}: {effect}. Make the schedule for the length of this "
        "fit(), or call compile() without an optimizer.",
        stacklevel=4,
    )
    return True
