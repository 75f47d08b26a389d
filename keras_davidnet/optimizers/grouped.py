"""One optimizer for each group of weights."""

import contextlib
import re
from collections.abc import Mapping

import keras


@keras.saving.register_keras_serializable("keras_davidnet")
class GroupedOptimizer(keras.optimizers.MultiOptimizer):
    """An optimizer for each group of weights, by the weights' paths.

    A `keras.optimizers.MultiOptimizer` that takes the groups as arguments and
    reports a pattern that matches no weight.

    Args:
        default: The optimizer of the weights that no pattern matches.
        groups: `{pattern: optimizer}`.  A weight belongs to the group whose
            pattern, a regular expression, matches all of its `path`.
        **kwargs: Arguments of `keras.optimizers.MultiOptimizer`: `name`,
            `loss_scale_factor`.

    Raises:
        TypeError: If `default` is not a Keras optimizer.
        ValueError: If the optimizer of a group is not one.  When it is built,
            if a pattern matches no weight or two match the same; in a net of
            this package a pattern may match frozen weights only.

    Example: biases with 64 times the rate of the other weights.

    ```python
    optimizer = GroupedOptimizer(
        PyTorchSGD(0.1, momentum=0.9),
        {".*/(beta|bias)": PyTorchSGD(6.4, momentum=0.9, name="bias")},
    )
    ```
    """

    # Paths of frozen weights; a pattern may match only these.
    frozen = ()

    def __init__(
        self,
        default: keras.optimizers.Optimizer,
        groups: Mapping[str, keras.optimizers.Optimizer],
        **kwargs,
    ):
        optimizer_map = keras.optimizers.OptimizerMap(default)
        for pattern, optimizer in groups.items():
            optimizer_map[pattern] = optimizer  # Keras checks it.
        super().__init__(optimizer_map, **kwargs)
        self.default = default
        self.groups = dict(groups)

    def build(self, variables):
        paths = [variable.path for variable in variables]
        for pattern in self.groups:
            if not any(
                re.fullmatch(pattern, p) for p in (*paths, *self.frozen)
            ):
                raise ValueError(
                    "Each pattern of `groups` must match a weight, one of "
                    f"{paths}. Received: {pattern!r}"
                )
        super().build(variables)

    def get_config(self) -> dict:
        return {
            "default": keras.optimizers.serialize(self.default),
            "groups": {
                pattern: keras.optimizers.serialize(optimizer)
                for pattern, optimizer in self.groups.items()
            },
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(
            **keras.saving.deserialize_keras_object(config, custom_objects)
        )


def leaf_optimizers(
    optimizer: keras.optimizers.Optimizer,
) -> list[keras.optimizers.Optimizer]:
    """The optimizers that update weights: several in a `MultiOptimizer`.

    Loss scalers and averages of weights around them are left out.
    """
    *_, optimizer = unwrap(optimizer)
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


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """Those of a model and of its optimizer, which is built if need be."""
    # Keras builds a loss scaler twice if told so.
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
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
