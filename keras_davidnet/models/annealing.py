"""Ends the learning rate with `fit`, or warns if it ends elsewhere."""

import warnings

import keras

from keras_davidnet.optimizers.grouped import leaf_optimizers
from keras_davidnet.schedules import PiecewiseLinear, total_steps


def rate_configs(optimizer: keras.optimizers.Optimizer) -> list:
    """The learning rate of each member, or the config of its schedule."""
    rates = [
        o.get_config()["learning_rate"] for o in leaf_optimizers(optimizer)
    ]
    # Keras does not always put the same entries beside the config.
    return [r["config"] if isinstance(r, dict) else r for r in rates]


class Annealing(keras.callbacks.Callback):
    """Ends a model's own rates with `fit`; warns if a user's end elsewhere.

    Args:
        batch_size: Number of images per batch, None if it is not known.
        epochs: Number of epochs of `fit`; the last may be a part of one.
    """

    def __init__(self, batch_size: int | None, epochs: float):
        super().__init__()
        self.batch_size = batch_size
        self.epochs = epochs
        self._done = False

    def on_epoch_begin(self, epoch, logs=None):
        # Not when training begins: another callback may resume it then.
        if self._done:
            return
        self._done = True
        optimizer, steps = self.model.optimizer, self.params["steps"]
        # One whose weights are all frozen makes no steps.
        iterations = max(
            int(keras.ops.convert_to_numpy(member.iterations))
            for member in leaf_optimizers(optimizer)
        )
        # Keras may end sooner: `keras.config.set_max_epochs`.
        epochs = min(self.epochs, self.params["epochs"])
        if not self.model.own_rates:
            if steps is not None and not self.model.warned_of_rates:
                last_step = iterations + total_steps(epochs - epoch, steps)
                self.model.warned_of_rates = _warn(optimizer, last_step)
            return
        if steps is None:
            raise ValueError(
                "The rate of a default compile() ends with the data, and their "
                "length is not known: give fit() `steps_per_epoch`, or give "
                "compile() an optimizer. Received: steps_per_epoch=None"
            )
        size = {"batch_size": self.batch_size} if self.batch_size else {}
        rates = rate_configs(
            self.model.default_optimizer(
                steps_per_epoch=steps, epochs=epochs, **size
            )
        )
        for member, config in zip(
            leaf_optimizers(optimizer), rates, strict=True
        ):
            schedule = PiecewiseLinear.from_config(config)
            shift = iterations - epoch * steps
            member.learning_rate = PiecewiseLinear(
                [knot + shift for knot in schedule.knots], schedule.values
            )
        self.model.keep_rates()


def _warn(optimizer, last_step):
    """Warns if the rate does not end at `last_step`; whether it did."""
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
        stacklevel=2,
    )
    return True
