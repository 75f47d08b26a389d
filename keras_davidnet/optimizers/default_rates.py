"""The learning rates of a `compile()` without an optimizer."""

import contextlib
from collections.abc import Iterator

import keras

from keras_davidnet.optimizers.leaves import leaf_optimizers, schedule_of
from keras_davidnet.schedules import DefaultSchedule


def mark_rates(optimizer: keras.optimizers.Optimizer):
    """Marks the schedules as defaults, and returns the optimizer."""
    for leaf in leaf_optimizers(optimizer):
        schedule = schedule_of(leaf)
        if schedule is not None:
            leaf.learning_rate = DefaultSchedule(schedule)
    return optimizer


@contextlib.contextmanager
def unmarked_rates(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Within it, the default rates are the user's own."""
    marked = [
        (leaf, schedule)
        for leaf in leaf_optimizers(optimizer)
        if isinstance(schedule := schedule_of(leaf), DefaultSchedule)
    ]
    for leaf, schedule in marked:
        leaf.learning_rate = schedule.schedule
    try:
        yield
    finally:
        for leaf, schedule in marked:
            leaf.learning_rate = schedule
