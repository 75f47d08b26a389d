"""One optimizer for each group of weights."""

import re
from collections.abc import Mapping

import keras


@keras.saving.register_keras_serializable("keras_davidnet")
class GroupedOptimizer(keras.optimizers.MultiOptimizer):
    """An optimizer for each group of weights, by the weights' paths.

    Keras's `MultiOptimizer`, which reports a pattern that matches no weight
    and has the groups as arguments.

    Args:
        default: The optimizer of the weights that no pattern matches.
        groups: `{pattern: optimizer}`.  A weight belongs to the group whose
            pattern, a regular expression, matches all of its `path`.
        **kwargs: Arguments of `keras.optimizers.MultiOptimizer`: `name`,
            `loss_scale_factor`.

    Raises:
        TypeError: If one of the optimizers is not a Keras optimizer.
        ValueError: If a pattern is not a valid regular expression; when it is
            built, if a pattern matches no weight or two match the same.  In a
            net of this package a pattern may match frozen weights only.

    Example: biases with 64 times the rate of the other weights.

    ```python
    optimizer = GroupedOptimizer(
        PyTorchSGD(0.1, momentum=0.9),
        {".*/(beta|bias)": PyTorchSGD(6.4, momentum=0.9, name="bias")},
    )
    ```
    """

    # The paths of weights that are frozen: a pattern may match these alone.
    frozen = ()

    def __init__(
        self,
        default: keras.optimizers.Optimizer,
        groups: Mapping[str, keras.optimizers.Optimizer],
        **kwargs,
    ):
        for optimizer in (default, *groups.values()):
            if not isinstance(optimizer, keras.optimizers.Optimizer):
                raise TypeError(
                    "Each group must have a keras.optimizers.Optimizer. "
                    f"Received: {optimizer!r}"
                )
        for pattern in groups:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"`groups` must have regular expressions as keys: {error}. "
                    f"Received: {pattern!r}"
                ) from error
        super().__init__(
            keras.optimizers.OptimizerMap(default, dict(groups)), **kwargs
        )
        self.default = default
        self.groups = dict(groups)

    def build(self, variables):
        paths = [variable.path for variable in variables]
        for pattern in self.groups:
            if not any(
                re.fullmatch(pattern, path) for path in (*paths, *self.frozen)
            ):
                raise ValueError(
                    f"Each pattern of `groups` must match a weight, one of "
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
        deserialize = keras.optimizers.deserialize
        return cls(
            **{
                **config,
                "default": deserialize(config["default"], custom_objects),
                "groups": {
                    pattern: deserialize(optimizer, custom_objects)
                    for pattern, optimizer in config["groups"].items()
                },
            }
        )


def members(
    optimizer: keras.optimizers.Optimizer,
) -> list[keras.optimizers.Optimizer]:
    """The optimizers that a `MultiOptimizer` is made of; else the one itself.

    Those inside of the loss scaler that `mixed_float16` puts around them, and
    of an average of weights.
    """
    *_, optimizer = layers_of(optimizer)
    return getattr(optimizer, "optimizers", [optimizer])


def layers_of(
    optimizer: keras.optimizers.Optimizer,
) -> list[keras.optimizers.Optimizer]:
    """The optimizer, the one that it is around, and so on."""
    layers = [optimizer]
    while hasattr(layers[-1], "inner_optimizer"):
        layers.append(layers[-1].inner_optimizer)
    return layers
