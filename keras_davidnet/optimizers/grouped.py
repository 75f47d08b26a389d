"""One optimizer for each group of weights."""

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
