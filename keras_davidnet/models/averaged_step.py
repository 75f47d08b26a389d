"""The step of a model whose moving statistics are averaged."""

from typing import Any

import keras

from keras_davidnet.optimizers.averaging import Averaging
from keras_davidnet.optimizers.grouped import unwrap


def averaging(model: keras.Model) -> Averaging | None:
    """The part of the model's optimizer that averages its weights."""
    for optimizer in unwrap(model.optimizer):
        if isinstance(optimizer, Averaging):
            return optimizer
    return None


def averaged_step(model: keras.Model, step, *args) -> Any:
    """`step(*args)`; and what averages the weights sees the statistics.

    Args:
        model: The compiled model.
        step: Keras's training step.
        *args: The data; on JAX the state before them.
    """
    average = averaging(model)
    if average is None:
        return step(*args)
    if len(args) == 1:
        number = average.before_step()
        logs = step(*args)
        average.after_step(number)
        return logs
    state, data = args
    number, state = _on_state(model, state, average.before_step)
    logs, state = step(state, data)
    _, state = _on_state(model, state, lambda: average.after_step(number))
    return logs, state


def _on_state(model, state, function):
    """What a function gives that changes the model's variables; their state.

    On JAX the values are in the state.
    """
    trained, others, optimizers, metrics = state
    variables = model.non_trainable_variables + model.optimizer.variables
    with keras.StatelessScope(
        zip(variables, [*others, *optimizers], strict=True)
    ) as scope:
        result = function()
    values = [scope.get_current_value(variable) for variable in variables]
    count = len(others)
    return result, (trained, values[:count], values[count:], metrics)
