"""Learning-rate schedules."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_davidnet._checks import check_count, check_number, check_numbers


@keras.saving.register_keras_serializable("keras_davidnet")
class PiecewiseLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is linear between knots.

    `rate(step) = np.interp(step, knots, values)`: linear between the knots,
    flat outside them.

    Args:
        knots: Steps, strictly rising, at least two.
        values: The rate at each knot, not negative.
        name: Name of the schedule.

    Raises:
        ValueError: If knots and values are not finite numbers of the same
            count, if the knots do not rise, or if a value is negative.

    Example: DavidNet's rate, 24 epochs of 97 steps.

    ```python
    PiecewiseLinear.from_epochs([0, 5, 24], [0, 0.4, 0], steps_per_epoch=97)
    ```
    """

    def __init__(
        self,
        knots: Sequence[float],
        values: Sequence[float],
        name: str = "PiecewiseLinear",
    ):
        super().__init__()
        self.knots = check_numbers("knots", knots)
        self.values = check_numbers("values", values)
        if (
            not len(self.knots) == len(self.values) >= 2
            or (np.diff(self.knots) <= 0).any()
            or min(self.values) < 0
        ):
            raise ValueError(
                "`knots` must rise from each to the next, and `values` be as "
                "many, at least 2, and not negative. "
                f"Received: knots={knots}, values={values}"
            )
        self.name = name

    @classmethod
    def from_epochs(
        cls,
        knots: Sequence[float],
        values: Sequence[float],
        steps_per_epoch: int,
        name: str = "PiecewiseLinear",
    ) -> "PiecewiseLinear":
        """The same, with the knots in epochs of `steps_per_epoch` steps."""
        check_count("steps_per_epoch", steps_per_epoch)
        return cls([knot * steps_per_epoch for knot in knots], values, name)

    def __call__(self, step):
        knots = ops.convert_to_tensor(self.knots, "float32")
        values = ops.convert_to_tensor(self.values, "float32")
        step = ops.clip(ops.cast(step, "float32"), knots[0], knots[-1])
        # The segment is the number of inner knots that lie behind.
        past = step[..., None] >= knots[1:-1]
        left = ops.sum(ops.cast(past, "int32"), axis=-1)
        start, end = ops.take(knots, left), ops.take(knots, left + 1)
        # Both weights from the step itself: near a value of zero, 1 - weight
        # would leave nothing but rounding.
        return ops.take(values, left) * (
            (end - step) / (end - start)
        ) + ops.take(values, left + 1) * ((step - start) / (end - start))

    def get_config(self) -> dict:
        return {"knots": self.knots, "values": self.values, "name": self.name}


@keras.saving.register_keras_serializable("keras_davidnet")
class DefaultSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a model that was compiled without an optimizer.

    `rate(step) = schedule(step - start)`.  `fit` replaces it by one that is
    made for its own number of steps; another rate that the user assigns stays.

    Args:
        schedule: A `LearningRateSchedule`.
        start: Step at which `schedule` begins.
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        start: int = 0,
    ):
        super().__init__()
        self.schedule = schedule
        self.start = start

    def __call__(self, step):
        return self.schedule(step - self.start)

    def get_config(self) -> dict:
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "start": self.start,
        }

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(**{**config, "schedule": schedule})


def total_steps(epochs: float, steps_per_epoch: int) -> int:
    """Number of steps of `epochs`, rounded up to whole steps.

    Raises:
        ValueError: Unless both are above 0 and `steps_per_epoch` is an integer.
    """
    check_number("epochs", epochs, gt=0)
    check_count("steps_per_epoch", steps_per_epoch)
    # 0.1 * 30 is above 3.
    return math.ceil(round(epochs * steps_per_epoch, 6))
