"""The learning-rate range test."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_davidnet import _backend
from keras_davidnet._checks import check_number
from keras_davidnet.datasets.batches import Batches
from keras_davidnet.optimizers.grouped import leaf_optimizers, schedule_of
from keras_davidnet.schedules import PiecewiseLinear

# The smoothed loss averages about this fraction of all steps.
_WINDOW = 1 / 20
_DIVERGED = 4


class LearningRateFinder(keras.callbacks.Callback):
    """Tries all learning rates in one `fit`, then restores the model.

    The rate rises from `low` at the first step of `fit` to `high` at the last,
    by the same factor at each step. `fit` ends early when the smoothed loss is
    above 4 times its best value or the loss is not finite.

    A hundred steps are enough; `fit` needs as many epochs as they take. Its
    logs are those of single batches, so its history is of no use.

    When `fit` ends, the variables of model, optimizer and metrics, the rates
    and the epoch of the data's plan are restored; after a `fit` of a stock
    model that raised, call `finder.restore()`. The global generators are not
    restored: the ones that shuffle arrays, and PyTorch's, from which Keras's
    dropout draws on torch.

    With several optimizers (`GroupedOptimizer`), all rates rise by the same
    factor. `low`, `high` and the rates found belong to the default group; the
    others keep their proportion to it, schedules by their highest rates.

    Args:
        low: The first rate.
        high: The last rate.
        dataset: For a stock model: the `Batches` that `fit` trains on, if any.

    Attributes:
        rates: Rate of each step, a list of floats.
        losses: Loss of each step's batch.
        smoothed: Their debiased exponential average, over about a twentieth of
            all steps.

    Raises:
        ValueError: If `low` is not above 0 and below `high`; or, when `fit`
            begins, if it has fewer than 20 steps or an unknown number of them,
            if it has `initial_epoch` above 0, if the model has
            `steps_per_execution` above 1, or if the default group's rate is 0.
        TypeError: If `dataset` is not `Batches`.

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

    def __init__(
        self,
        low: float = 1e-6,
        high: float = 10.0,
        dataset: Batches | None = None,
    ):
        super().__init__()
        self.low = check_number("low", low, gt=0)
        self.high = check_number("high", high, gt=0)
        if self.low >= self.high:
            raise ValueError(
                f"`low` must be below `high`. Received: low={low}, high={high}"
            )
        if dataset is not None and not isinstance(dataset, Batches):
            raise TypeError(
                "`dataset` must be Batches, as make_dataset(...) makes them. "
                f"Received: dataset={dataset!r}"
            )
        self.dataset = dataset
        self.rates, self.losses, self.smoothed = [], [], []
        self._plan = None if dataset is None else dataset.plan
        self._before = None

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

    def on_data(self, x, y):
        """Takes what `fit` trains on; the models of this package call it."""
        self._plan = getattr(x, "plan", None)

    def on_train_begin(self, logs=None):
        # The last `fit` may have been a stock model's and raised.
        self.restore()
        model = self.model
        if model.steps_per_execution != 1:
            raise ValueError(
                "LearningRateFinder looks at every step: compile the model "
                "with steps_per_execution=1. "
                f"Received: steps_per_execution={model.steps_per_execution}"
            )
        steps = self.params["steps"]
        if steps is None or steps * self.params["epochs"] < 1 / _WINDOW:
            raise ValueError(
                "`fit` must have at least 20 steps, and their number must be "
                "known: give it more `epochs`, or `steps_per_epoch`. Received: "
                f"{steps} steps per epoch, epochs={self.params['epochs']}"
            )
        steps *= self.params["epochs"]
        if not model.optimizer.built:
            with _backend.variable_scope(model):
                model.optimizer.build(model.trainable_variables)
        optimizers = leaf_optimizers(model.optimizer)
        schedules = [schedule_of(optimizer) for optimizer in optimizers]
        self._shares = _shares(optimizers, schedules)
        self._growth = math.log(self.high / self.low) / (steps - 1)
        self._before = (
            model,
            _copies(model.variables + model.metrics_variables),
            _copies(model.optimizer.variables),
            list(zip(optimizers, schedules, strict=True)),
            self._plan,
            self._plan and self._plan.epoch,
        )
        # A constant is assigned before each step instead: Keras never changes
        # a schedule back to a constant.
        for i, optimizer in enumerate(optimizers):
            if schedules[i] is not None:
                accumulated = optimizer.gradient_accumulation_steps or 1
                optimizer.learning_rate = RisingRate(
                    self.low * self._shares[i],
                    self._growth,
                    int(optimizer.iterations) * accumulated,
                )
        # The schedule is read when the step is traced.
        model.make_train_function(force=True)
        self.rates, self.losses, self.smoothed = [], [], []
        self._weight = 1 - 1 / (steps * _WINDOW)
        self._sum = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch and not self.losses:
            self.restore()
            raise ValueError(
                "The rates rise over all epochs of `fit`: leave initial_epoch "
                f"at 0. Received: initial_epoch={epoch}"
            )

    def on_train_batch_begin(self, batch, logs=None):
        # The logs are means over the epoch. This leaves one batch in them, and
        # no rounding of a sum of many.
        self.model.reset_metrics()
        rate = self.low * math.exp(self._growth * len(self.losses))
        *_, before, _, _ = self._before
        optimizers = leaf_optimizers(self.model.optimizer)
        for i, (_, schedule) in enumerate(before):
            if schedule is None:
                optimizers[i].learning_rate = self._shares[i] * rate
        self._rate = float(optimizers[-1].learning_rate)

    def on_train_batch_end(self, batch, logs: Any = None):
        # On JAX the variables are empty until the epoch ends.
        _backend.sync_state(self.model)
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
        if smooth > best + (_DIVERGED - 1) * abs(best):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.restore()

    def restore(self):
        """Restores what was there when `fit` began."""
        if self._before is None:
            return
        # By now the callback may belong to another model.
        model, variables, of_optimizer, before, plan, epoch = self._before
        self._before = None
        for optimizer, schedule in before:
            if schedule is not None:
                optimizer.learning_rate = schedule
        for variable, value in variables:
            variable.assign(value)
        # By place: another callback may have replaced the optimizer by a copy.
        for variable, (_, value) in zip(
            model.optimizer.variables, of_optimizer, strict=True
        ):
            variable.assign(value)
        if plan is not None:
            plan.epoch = epoch
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


def _copies(variables):
    # Not the values themselves: some backends hand out their own memory.
    return [(v, np.array(ops.convert_to_numpy(v))) for v in variables]


def _shares(optimizers, schedules):
    """Rate of each optimizer, relative to the last, the default."""
    if len(optimizers) == 1:
        return [1.0]
    rates = []
    for optimizer, schedule in zip(optimizers, schedules, strict=True):
        schedule = getattr(schedule, "schedule", schedule)  # of a default
        if isinstance(schedule, PiecewiseLinear):
            rates.append(max(schedule.values))
        else:
            rates.append(float(optimizer.learning_rate))
    if rates[-1] == 0:
        raise ValueError(
            "The default group's rate must be above 0, or the others have no "
            f"proportion to it. Received: rates={rates}"
        )
    return [rate / rates[-1] for rate in rates]
