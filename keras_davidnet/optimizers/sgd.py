"""SGD with coupled weight decay: PyTorch's, and Keras's."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import check_number, to_python


class _CoupledDecay(keras.optimizers.SGD):
    """Adds weight decay to the gradient, before momentum.

    A subclass calls `decayed` in its `update_step`.
    """

    def __init__(
        self,
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule
        | Callable = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        name: str | None = None,
        **kwargs: Any,
    ):
        if not callable(learning_rate):
            learning_rate = check_number("learning_rate", learning_rate, ge=0)
        super().__init__(
            learning_rate,
            check_number("momentum", momentum, ge=0, le=1),
            to_python(nesterov),
            name=name,
            **kwargs,
        )
        self.coupled_weight_decay = check_number(
            "weight_decay", weight_decay, ge=0
        )

    def decayed(self, gradient, variable):
        """The gradient with the decay, unless a decoupled one is set."""
        coupled = self.coupled_weight_decay and self.weight_decay is None
        if coupled and self._use_weight_decay(variable):
            gradient = gradient + self.coupled_weight_decay * variable
        return gradient

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "weight_decay": self.coupled_weight_decay,
        }


@keras.saving.register_keras_serializable("keras_davidnet")
class PyTorchSGD(_CoupledDecay):
    """SGD with momentum and decay as PyTorch and TensorFlow 1 define them.

    For a weight `w` with gradient `g` and velocity `v`:

    ```
    g = g + weight_decay * w
    v = momentum * v + g
    w = w - learning_rate * v                       # plain
    w = w - learning_rate * (g + momentum * v)      # Nesterov
    ```

    `keras.optimizers.SGD` keeps the rate inside the velocity instead.  Under a
    constant rate the two are the same; under a falling one its last steps are
    up to nine times larger (momentum 0.9).  Recipes tuned with
    `torch.optim.SGD` or `tf.train.MomentumOptimizer` need this class.

    The decay is coupled: it enters the gradient, and with it the velocity.
    The attribute `weight_decay` that Keras gives every optimizer is the
    decoupled decay; while it is set, by `keras_davidnet.DecoupledWeightDecay`,
    there is no coupled decay.

    Args:
        learning_rate: A float, a `LearningRateSchedule` or a callable.
        momentum: In `[0, 1]`.
        nesterov: Whether to use Nesterov's momentum.
        weight_decay: Coupled decay, as in `torch.optim.SGD`; kept in the
            attribute `coupled_weight_decay`.
        **kwargs: Arguments of `keras.optimizers.Optimizer`: `clipnorm`,
            `use_ema`, `gradient_accumulation_steps`, `name`, ...

    Raises:
        ValueError: If `momentum` or `weight_decay` is out of its range.
    """

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = self.decayed(ops.cast(gradient, variable.dtype), variable)
        update = gradient
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            update = self.momentum * velocity + gradient
            self.assign(velocity, update)
            if self.nesterov:
                update = gradient + self.momentum * update
        self.assign_sub(variable, learning_rate * update)


@keras.saving.register_keras_serializable("keras_davidnet")
class CoupledSGD(_CoupledDecay):
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

    A decoupled decay takes its place, as in `PyTorchSGD`.

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

    def update_step(self, gradient, variable, learning_rate):
        gradient = self.decayed(gradient, variable)
        super().update_step(gradient, variable, learning_rate)
