"""The learning rates of a `compile()` without an optimizer."""

import keras

from keras_davidnet.optimizers.grouped import leaf_optimizers, schedule_of
from keras_davidnet.schedules import DefaultSchedule


def mark_rates(optimizer: keras.optimizers.Optimizer):
    """Marks the schedules as defaults, and returns the optimizer."""
    for leaf in leaf_optimizers(optimizer):
        schedule = schedule_of(leaf)
        if schedule is not None:
            leaf.learning_rate = DefaultSchedule(schedule)
    return optimizer


def unmark_rates(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes default rates the user's own."""
    for leaf in leaf_optimizers(optimizer):
        schedule = schedule_of(leaf)
        if isinstance(schedule, DefaultSchedule):
            leaf.learning_rate = schedule.schedule
