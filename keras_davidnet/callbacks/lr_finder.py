"""The learning-rate range test."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_davidnet._checks import check_number
from keras_davidnet._distribution import scope
from keras_davidnet.datasets.batches import Batches
from keras_davidnet.optimizers.grouped import leaf_optimizers
from keras_davidnet.schedules import PiecewiseLinear

JAX = keras.backend.backend() == "jax"
# The smoothed loss is the mean of about this fraction of all steps.
_WINDOW = 1 / 20
_DIVERGED = 4


class LearningRateFinder(keras.callbacks.Callback):
    """Tries all rates in one `fit` and then puts the model back.

    The learning-rate range test (Smith 2015, https://arxiv.org/abs/1506.01186),
    in the form that is in use since (Gugger 2018,
    https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html): the
    rate rises from `low` at the first step of `fit` to `high` at the last, by
    the same factor from each step to the next.  `fit` ends early when the
    smoothed loss is above 4 times its best or the loss is not finite.

    A hundred steps are enough; give `fit` as many epochs as they take.  Its
    logs are those of each batch; do not use its history.

    When `fit` ends, the variables of model, optimizer and metrics, the rates
    and the epoch of the data's plan are what they were when it began.  After a
    `fit` that raised, `finder.on_train_end()` does that.  The global generators
    are not restored: those that shuffle arrays, and PyTorch's, from which
    Keras's dropout draws on torch.

    Of several optimizers (`GroupedOptimizer`), all rates rise by the same
    factor.  `low`, `high` and what is found are those of the default group; the
    others keep their proportion to it, schedules that of their highest rates.

    Args:
        low: The first rate.
        high: The last rate.
        dataset: For a model of another package: the batches of `make_dataset`
            that `fit` trains on, if it does.

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
        TypeError: If `dataset` is not such a dataset.

    Example:

    ```python
    finder = LearningRateFinder(low=1e-4, high=10)
    model.fit(train_ds, epochs=5, callbacks=[finder])
    finder.suggestion  # the rate of the steepest descent
    ```
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
                "`dataset` must be what make_dataset(...) gave. "
                f"Received: dataset={dataset!r}"
            )
        self.dataset = dataset
        self.rates, self.losses, self.smoothed = [], [], []
        self._data = None
        self._found = None

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest.

        The slope is that over the logarithm of the rate.

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
        """Tells what `fit` trains on, as the models of this package do."""
        self._data = x

    def on_train_begin(self, logs=None):
        # A fit that raised left its model as it was then.
        self.on_train_end()
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
        optimizers = leaf_optimizers(model.optimizer)
        shares = _shares(optimizers)
        if not model.optimizer.built:
            with scope(model):
                model.optimizer.build(model.trainable_variables)
        self._keep(optimizers)
        growth = math.log(self.high / self.low) / (steps - 1)
        for optimizer, share in zip(optimizers, shares, strict=True):
            # `iterations` does not count the steps of an accumulated gradient.
            start = int(ops.convert_to_numpy(optimizer._iterations))
            # Not by `learning_rate`, which would take the variable of a
            # constant rate out of the optimizer.
            optimizer._learning_rate = RisingRate(
                share * self.low, growth, start
            )
        # The rate is read when the step is traced.
        model.make_train_function(force=True)
        self.rates, self.losses, self.smoothed = [], [], []
        self._weight = 1 - 1 / (steps * _WINDOW)
        self._sum = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch and not self.losses:
            self.on_train_end()
            raise ValueError(
                "The rates rise over all epochs of `fit`: leave initial_epoch "
                f"at 0. Received: initial_epoch={epoch}"
            )

    def on_train_batch_begin(self, batch, logs=None):
        # The logs are means over the epoch.  This leaves one batch in them,
        # and no rounding of a sum of many.
        self.model.reset_metrics()
        # Read, not counted: a step that overflows in float16 does not count.
        self._rate = _number(
            leaf_optimizers(self.model.optimizer)[-1].learning_rate
        )

    def on_train_batch_end(self, batch, logs: Any = None):
        if JAX:
            # Else the variables are empty until the epoch ends.
            self.model.jax_state_sync()
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
        if self._found is None:
            return
        # By now the callback may belong to another model.
        model, values, rates, plan, epoch = self._found
        self._found = self._data = None
        for optimizer, rate in rates:
            optimizer._learning_rate = rate
        for variable, value in values:
            variable.assign(value)
        if plan is not None:
            plan.epoch = epoch
        model.make_train_function(force=True)

    def _keep(self, optimizers):
        model = self.model
        data = self._data if self.dataset is None else self.dataset
        plan = getattr(data, "plan", None)
        variables = model.variables + model.optimizer.variables
        variables += model.metrics_variables
        self._found = (
            model,
            # Copies: some backends hand out their own memory.
            [(v, np.array(ops.convert_to_numpy(v))) for v in variables],
            [(optimizer, optimizer._learning_rate) for optimizer in optimizers],
            plan,
            plan and plan.epoch,
        )


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


def _shares(optimizers):
    """Rate of each optimizer in units of that of the last, the default."""
    if len(optimizers) == 1:
        return [1.0]
    *_, default = rates = [_highest(o) for o in optimizers]
    if default == 0:
        raise ValueError(
            "The default group's rate must be above 0, or the others have no "
            f"proportion to it. Received: rates={rates}"
        )
    return [rate / default for rate in rates]


def _highest(optimizer):
    if isinstance(optimizer._learning_rate, PiecewiseLinear):
        return max(optimizer._learning_rate.values)
    return _number(optimizer.learning_rate)


def _number(rate):
    return float(ops.convert_to_numpy(rate))
