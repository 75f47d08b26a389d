"""The learning-rate range test."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_davidnet._checks import check_number
from keras_davidnet.callbacks.fit_hooks import FitHooks
from keras_davidnet.optimizers.leaves import (
    leaf_optimizers,
    schedule_of,
    steps_made,
    variables_of,
)
from keras_davidnet.schedules import DefaultSchedule, PiecewiseLinear


class LearningRateFinder(FitHooks):
    """Tries a range of learning rates in one `fit`, then restores the model.

    The learning rate rises from `low` at the first step to `high` at the last,
    by the same factor at each step. A hundred steps are enough. `fit` ends
    early if the smoothed loss exceeds 4 times its best value, or if the loss is
    not finite. While it runs, the logs hold values of single batches, not means
    over the epoch.

    When `fit` ends, the variables of model and optimizer and the rates are
    restored, but not global random generators; after a `fit` of a stock model
    that raised, call `finder.restore()`.

    With a `GroupedOptimizer`, `low` and `high` apply to the default group. The
    other groups keep their proportion to it; a schedule counts with its peak.

    Args:
        low: The first rate.
        high: The last rate.

    Attributes:
        rates: Rate of each step, a list of floats.
        losses: Loss of each step's batch.
        smoothed: Their debiased exponential average, over about a twentieth of
            all steps.

    Raises:
        ValueError: If `low` is not above 0 and below `high`; when `fit` begins,
            if it has fewer than 20 steps, an unknown number, or several per
            execution, or if the default group's rate is 0.

    Example:

    ```python
    finder = LearningRateFinder(low=1e-4, high=10)
    model.fit(train_ds, epochs=5, callbacks=[finder])
    finder.suggestion  # the rate of the steepest descent
    ```

    References:
        - [Smith, 2015](https://arxiv.org/abs/1506.01186)
        - [Gugger, 2018](https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html),
          the form used here.
    """

    def __init__(self, low: float = 1e-6, high: float = 10.0):
        super().__init__()
        self.low = check_number("low", low, gt=0)
        self.high = check_number("high", high, gt=self.low)
        self.rates, self.losses, self.smoothed = [], [], []
        self._before: Any = None

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest.

        The slope is taken over the logarithm of the rate.

        Raises:
            ValueError: If the loss never fell, or no `fit` was run.
        """
        slopes = np.diff(self.smoothed)
        if not (slopes < 0).any():
            raise ValueError(
                "The loss must fall at some rate: fit the model with this "
                "callback, from a lower `low` or for more steps. "
                f"Received: {len(self.losses)} steps, low={self.low}"
            )
        # The rates' logarithms are evenly spaced.
        return self.rates[int(np.argmin(slopes))]

    def on_train_begin(self, logs=None):
        # The last `fit` may have been a stock model's and raised.
        self.restore()
        model, at_once = self.model, self.model.steps_per_execution
        per_epoch, epochs = self.params["steps"], self.epochs
        steps = (per_epoch or 0) * epochs
        if steps < 20 or at_once != 1:
            raise ValueError(
                "`fit` must have at least 20 steps, their number must be known "
                "and each be an execution of its own: give it more `epochs`, "
                f"or `steps_per_epoch`. Received: {per_epoch} steps per epoch, "
                f"epochs={epochs}, steps_per_execution={at_once}"
            )
        optimizers = leaf_optimizers(model.optimizer)
        schedules = [schedule_of(optimizer) for optimizer in optimizers]
        self._shares = _shares(optimizers, schedules)
        self._growth = math.log(self.high / self.low) / (steps - 1)
        self._before = (
            model,
            getattr(model, "warned_of_rates", None),
            # Copies: some backends hand out their own memory.
            [np.array(ops.convert_to_numpy(v)) for v in variables_of(model)],
            list(zip(optimizers, schedules, strict=True)),
        )
        # A net of this package would warn of rates and averages that do not
        # fit so few steps.
        model.warned_of_rates = True
        for i, optimizer in enumerate(optimizers):
            # Keras never changes a schedule back to a constant: a constant is
            # assigned before each step instead.
            if schedules[i] is None:
                _check_constant(optimizer)
            else:
                optimizer.learning_rate = RisingRate(
                    self.low * self._shares[i],
                    self._growth,
                    start=steps_made(optimizer),
                )
        # The schedule is read when the step is traced.
        model.make_train_function(force=True)
        self.rates, self.losses, self.smoothed = [], [], []
        # Averages about a twentieth of all steps.
        self._weight = 1 - 20 / steps
        self._sum = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        if not self.losses and epoch > 0:
            raise ValueError(
                "The rates rise over all epochs of `fit`: leave out "
                f"`initial_epoch`. Received: initial_epoch={epoch}"
            )

    def on_train_batch_begin(self, batch, logs=None):
        # The logs are means over the epoch. This leaves one batch in them, and
        # no rounding of a sum of many.
        self.model.reset_metrics()
        # Not the default group's own, which makes no steps if it is frozen.
        self._rate = self.low * math.exp(self._growth * len(self.losses))
        optimizers = leaf_optimizers(self.model.optimizer)
        for i, (_, schedule) in enumerate(self._before[-1]):
            if schedule is None:
                optimizers[i].learning_rate = self._shares[i] * self._rate

    def on_train_batch_end(self, batch, logs: Any = None):
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            self.model.stop_training = True
            return
        self.rates.append(self._rate)
        self.losses.append(loss)
        self._sum = self._weight * self._sum + (1 - self._weight) * loss
        smooth = self._sum / (1 - self._weight ** len(self.losses))
        self.smoothed.append(smooth)
        best = min(self.smoothed)
        # A loss may be negative.
        if smooth > best + 3 * abs(best):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.restore()

    def restore(self):
        """Restores the variables and rates from before `fit`."""
        if self._before is None:
            return
        # By now the callback may belong to another model.
        model, warned, values, rates = self._before
        self._before = None
        model.warned_of_rates = warned
        # Nor has it seen an epoch of the data.
        model.last_single_epoch = None
        for optimizer, schedule in rates:
            if schedule is not None:
                optimizer.learning_rate = schedule
        # By place: another callback may have replaced the optimizer by a copy.
        for variable, value in zip(variables_of(model), values, strict=True):
            variable.assign(value)
        model.make_train_function(force=True)


@keras.saving.register_keras_serializable("keras_davidnet")
class RisingRate(keras.optimizers.schedules.LearningRateSchedule):
    """`low` at step `start`, and `exp(growth)` times as much at each after."""

    def __init__(self, low: float, growth: float, start: int):
        super().__init__()
        self.low, self.growth, self.start = low, growth, start

    def __call__(self, step):
        # Integers are exact however long the net was trained before.
        step = ops.cast(step - self.start, "float32")
        return self.low * ops.exp(self.growth * step)

    def get_config(self) -> dict:
        return {"low": self.low, "growth": self.growth, "start": self.start}


def _check_constant(optimizer):
    """Raises a ValueError if the rate is a schedule that cannot be copied."""
    try:
        optimizer.learning_rate = optimizer.learning_rate
    except (AttributeError, TypeError) as error:
        raise ValueError(
            "The schedule of the learning rate must have a `get_config` and be "
            "registered by keras.saving.register_keras_serializable, so that "
            "it can be put back. "
            f"Received: another one, of the optimizer {optimizer.name!r}"
        ) from error


def _shares(optimizers, schedules):
    """Rate of each optimizer, relative to the last, the default."""
    if len(optimizers) == 1:
        return [1.0]
    rates = []
    for optimizer, schedule in zip(optimizers, schedules, strict=True):
        if isinstance(schedule, DefaultSchedule):
            schedule = schedule.schedule
        if schedule is None:
            rates.append(float(optimizer.learning_rate))
        elif isinstance(schedule, PiecewiseLinear):
            rates.append(max(schedule.values))
        else:
            rates.append(_peak(schedule))
    if rates[-1] == 0:
        raise ValueError(
            "The default group's rate must be above 0, or the others have no "
            f"proportion to it. Received: rates={rates}"
        )
    return [rate / rates[-1] for rate in rates]


def _peak(schedule):
    """About the highest rate of a schedule, which may be 0 as yet."""
    rates = [0.0]
    for step in sorted({0, *(int(1.1**power) for power in range(140))}):
        try:
            rates.append(float(schedule(ops.convert_to_tensor(step))))
        # A table of rates ends, with another error on each backend.
        except Exception:
            break
    return max(filter(math.isfinite, rates))
