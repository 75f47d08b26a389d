"""The optimizers within an optimizer, their steps and their rates."""

import contextlib
from typing import Any

import keras

from keras_davidnet import _backend


def leaf_optimizers(
    optimizer: keras.optimizers.Optimizer,
) -> list[keras.optimizers.Optimizer]:
    """The optimizers that update weights: several in a `MultiOptimizer`.

    Loss scalers and averages of weights around them are left out.
    """
    optimizer = unwrap(optimizer)[-1]
    return getattr(optimizer, "optimizers", [optimizer])


def unwrap(
    optimizer: keras.optimizers.Optimizer,
) -> list[keras.optimizers.Optimizer]:
    """The optimizer, its inner optimizer, and so on inwards."""
    layers = [optimizer]
    while hasattr(layers[-1], "inner_optimizer"):
        layers.append(layers[-1].inner_optimizer)
    return layers


def steps_made(optimizer: keras.optimizers.Optimizer) -> int:
    """Number of steps that its schedule has seen, accumulated ones included."""
    made = int(keras.ops.convert_to_numpy(optimizer.iterations))
    return made * (optimizer.gradient_accumulation_steps or 1)


def build_optimizer(model: Any) -> None:
    """Builds the optimizer of a model if need be, as `fit` does."""
    if not model.built:
        raise ValueError(
            "This callback needs a model that is built before `fit`: begin it "
            "with keras.Input, or call it once. "
            f"Received: model={model.name!r}, which is not"
        )
    if hasattr(model, "build_optimizer"):
        model.build_optimizer()
    elif not model.optimizer.built:
        with _backend.variable_scope(model):
            model.optimizer.build(model.trainable_variables)


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """The variables of a model and its optimizer, built if need be."""
    build_optimizer(model)
    return model.variables + model.optimizer.variables


def schedule_of(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """A copy of the schedule of the optimizer's learning rate.

    None for a constant rate, and for a schedule without a usable config.
    """
    # `learning_rate` is the rate of the next step, not the schedule.
    with contextlib.suppress(NotImplementedError, TypeError, ValueError):
        rate = optimizer.get_config()["learning_rate"]
        schedule = keras.optimizers.schedules.deserialize(rate)
        if isinstance(
            schedule, keras.optimizers.schedules.LearningRateSchedule
        ):
            return schedule
    return None
