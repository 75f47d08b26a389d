"""What a run of `ImageClassifier.fit` does at its epochs and steps."""

import functools
import math
import warnings
from typing import Any

import keras
from keras import ops

from keras_davidnet.datasets import EpochPlan
from keras_davidnet.optimizers.averaging import (
    ExponentialAverage,
    find_average,
)
from keras_davidnet.optimizers.leaves import (
    leaf_optimizers,
    schedule_of,
    steps_made,
)
from keras_davidnet.schedules import (
    DefaultSchedule,
    PiecewiseLinear,
    total_steps,
)


class FitCallback(keras.callbacks.Callback):
    """Sets the plan's epoch and the default rates, and logs the rates.

    Args:
        epochs: Number of epochs of `fit`; the last may be a part of one.
        batch_size: Number of images per batch, None if it is not known.
        plan: The plan of the batches, if they have one.
    """

    def __init__(
        self,
        epochs: float,
        batch_size: int | None,
        plan: EpochPlan | None,
    ):
        super().__init__()
        self.epochs = epochs
        self.batch_size = batch_size
        self.plan = plan
        self._begun = False

    def on_train_begin(self, logs=None):
        # `keras.config.set_max_epochs` may have less.
        self.epochs = min(self.epochs, self.params["epochs"])
        # For `FitHooks`.  Keras's callbacks compare with the whole number.
        self.params["exact_epochs"] = self.epochs

    def on_epoch_begin(self, epoch, logs=None):
        # Not when training begins: `Resume` may load a state then.
        if not self._begun:
            self._begun = True
            leaves = leaf_optimizers(self.model.optimizer)
            if any(isinstance(schedule_of(x), DefaultSchedule) for x in leaves):
                self._set_default_rates(epoch, leaves)
            else:
                self._warn_of_rates(epoch, leaves)
            self._check_loop(epoch)
        if self.plan is not None:
            # Keras makes the epoch's iterator after this.
            self.plan.epoch = epoch

    def on_epoch_end(self, epoch, logs: Any = None):
        leaves = leaf_optimizers(self.model.optimizer)
        for name, leaf in zip(_log_names(leaves), leaves, strict=True):
            schedule = schedule_of(leaf)
            # The last step had the rate before the one that is next.
            rate = (
                leaf.learning_rate
                if schedule is None
                else schedule(max(0, steps_made(leaf) - 1))
            )
            logs[name] = float(ops.convert_to_numpy(rate))

    def _warn_of_rates(self, epoch, leaves):
        """Warns of a user's rates and average that do not fit the run."""
        epochs, steps = self.epochs, self.params["steps"]
        # Once: each call of a loop of `fit` would warn.
        if not steps or epoch >= epochs or self.model.warned_of_rates:
            return
        average = find_average(self.model.optimizer)
        last_step = _steps_made(leaves) + total_steps(epochs - epoch, steps)
        for text in (
            _end_elsewhere(map(schedule_of, leaves), last_step),
            _lagging_average(average, total_steps(epochs, steps)),
        ):
            if text is not None:
                warnings.warn(text, stacklevel=2)
                self.model.warned_of_rates = True

    def _set_default_rates(self, epoch, leaves):
        """Gives the rates of a default `compile()` the length of the run."""
        epochs, steps = self.epochs, self.params["steps"]
        if steps is None:
            raise ValueError(
                "The rate of a default compile() ends with the data, and their "
                "length is not known: give fit() `steps_per_epoch`, or give "
                "compile() an optimizer. Received: steps_per_epoch=None"
            )
        new = self._default_optimizer(steps, epochs)
        start = _steps_made(leaves) - epoch * steps
        for leaf, other in zip(leaves, leaf_optimizers(new), strict=True):
            if isinstance(schedule_of(leaf), DefaultSchedule):
                leaf.learning_rate = DefaultSchedule(schedule_of(other), start)
        if average := find_average(self.model.optimizer):
            other = find_average(new)
            for name in {"momentum", "ramp_steps"} & vars(other).keys():
                setattr(average, name, getattr(other, name))
        # All are read when the step is traced.
        self.model.make_train_function(force=True)

    def _check_loop(self, epoch):
        """Warns of a loop of `fit(epochs=1)`, which repeats one epoch."""
        if self.plan is None or self.epochs - epoch > 1:
            return
        run = self.plan, epoch
        if self.model.last_single_epoch == run:
            warnings.warn(
                f"fit() shows epoch {epoch} of the data's plan once more, in "
                "the same order: in a loop, give fit() `initial_epoch=e` and "
                "`epochs=e + 1`.",
                stacklevel=2,
            )
        self.model.last_single_epoch = run

    def _default_optimizer(self, steps, epochs):
        make = functools.partial(
            self.model.default_optimizer, steps_per_epoch=steps, epochs=epochs
        )
        if self.batch_size is not None:
            return make(batch_size=self.batch_size)
        optimizer, other = make(), make(batch_size=1)
        if _rates(optimizer) != _rates(other):
            raise ValueError(
                "The rates of a default compile() follow the batch size, which "
                "a stream does not tell: give compile() an optimizer made for "
                "it, or fit() arrays or the batches of datasets.make_dataset. "
                "Received: batch_size=None"
            )
        return optimizer


class PartialEpoch(FitCallback):
    """Also stops `fit` within its last epoch.

    A class of its own: Keras synchronizes at each step for a callback with
    `on_train_batch_end`.

    Raises:
        ValueError: When `fit` begins, if the number of steps in an epoch is
            not known, or if `steps_per_execution` steps would run past the end.
    """

    def on_train_begin(self, logs=None):
        super().on_train_begin()
        steps, at_once = self.params["steps"], self.model.steps_per_execution
        if steps is None:
            raise ValueError(
                "A fraction of an epoch needs the length of a whole one: give "
                f"fit() `steps_per_epoch`. Received: epochs={self.epochs}, "
                "steps_per_epoch=None"
            )
        self.steps = total_steps(self.epochs, steps)
        if self.steps % steps % at_once:
            raise ValueError(
                f"The last epoch has {self.steps % steps} steps, which must be "
                "a multiple of those that run at once. Received: "
                f"epochs={self.epochs}, steps_per_execution={at_once}"
            )

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch)
        self.done = epoch * self.params["steps"]

    def on_train_batch_end(self, batch, logs=None):
        if self.done + batch + 1 >= self.steps:
            self.model.stop_training = True


def _steps_made(leaves):
    # Leaves whose weights are all frozen make no steps.
    return max(map(steps_made, leaves))


def _rates(optimizer):
    schedules = map(schedule_of, leaf_optimizers(optimizer))
    return [schedule and schedule.get_config() for schedule in schedules]


def _log_names(leaves):
    if len(leaves) == 1:
        return ["learning_rate"]
    names = [f"learning_rate_{leaf.name}" for leaf in leaves]
    return [
        name if names.count(name) == 1 else f"{name}_{index}"
        for index, name in enumerate(names)
    ]


def _lagging_average(average, steps):
    """A warning if little of a run is in its average."""
    if not isinstance(average, ExponentialAverage):
        return None
    share = average.momentum ** math.ceil(steps / average.period)
    if share <= 0.1:
        return None
    return (
        "When fit() ends the net has its average, and the weights that it "
        f"began with are {share:.0%} of that after {steps} steps. Choose a "
        "lower `momentum` for ExponentialAverage."
    )


def _end_elsewhere(schedules, last_step):
    """A warning if a user's rates end elsewhere than `fit`."""
    rates = [one for one in schedules if isinstance(one, PiecewiseLinear)]
    if not rates:
        return None
    # Some groups may be done before the others.
    longest = max(rates, key=lambda rate: rate.knots[-1])
    knot, value = longest.knots[-1], longest.values[-1]
    if knot > last_step:
        effect = "the rate does not come to its end"
    elif knot < last_step and value == 0:
        effect = "the steps between change nothing"
    else:
        return None
    return (
        f"The learning rate's last knot is at step {knot:g}, and fit() ends at "
        f"step {last_step}: {effect}. Make the schedule for the length of this "
        "fit(), or call compile() without an optimizer."
    )
