"""Keras's SGD with coupled weight decay."""

from collections.abc import Callable
from typing import Any

import keras

from keras_davidnet._checks import check_number, to_python
from keras_davidnet.optimizers.coupled_decay import CoupledDecay


@keras.saving.register_keras_serializable("keras_davidnet")
class CoupledSGD(CoupledDecay, keras.optimizers.SGD):
    """Keras's SGD, whose velocity has the rate in it, with coupled decay.

    For a weight `w` with gradient `g` and velocity `v`:

    ```
    g = g + weight_decay * w
    v = momentum * v - learning_rate * g
    w = w + v                                       # plain
    w = w + momentum * v - learning_rate * g        # Nesterov
    ```

    The weight decay of `keras.optimizers.SGD` is decoupled: it enters neither
    gradient nor velocity.  `PyTorchSGD` multiplies the velocity by the rate
    when it is applied.  Recipes tuned with the update of cifar10-fast since
    October 2019 want this class.

    The attribute `weight_decay` that Keras gives every optimizer is the
    decoupled one; while it is set, by `keras_davidnet.DecoupledWeightDecay`,
    there is no coupled decay.

    Args:
        learning_rate: A float, a `LearningRateSchedule` or a callable.
        momentum: In `[0, 1]`.
        nesterov: Whether to use Nesterov's momentum.
        weight_decay: Coupled decay, kept in the attribute
            `coupled_weight_decay`.
        **kwargs: Arguments of `keras.optimizers.Optimizer`: `clipnorm`,
            `name`, ...

    Raises:
        ValueError: If an argument is out of its range.

    References:
        - [cifar10-fast](https://github.com/davidcpage/cifar10-fast), whose
          `nesterov_update` this is.
    """

    def __init__(
        self,
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule
        | Callable = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        **kwargs: Any,
    ):
        if not callable(learning_rate):
            learning_rate = check_number("learning_rate", learning_rate, ge=0)
        super().__init__(
            learning_rate,
            check_number("momentum", momentum, ge=0, le=1),
            to_python(nesterov),
            coupled_weight_decay=weight_decay,
            **kwargs,
        )

    def update_step(self, gradient, variable, learning_rate):
        gradient = self.decayed(gradient, variable)
        super().update_step(gradient, variable, learning_rate)
