"""Averages of a net over its steps: Lookahead, and the moving average."""

import keras
from keras import ops

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.optimizers.slow_copies import Averaging, precision


@keras.saving.register_keras_serializable("keras_davidnet")
class Lookahead(Averaging):
    """Takes the net back, every few steps, towards where it was before.

    A slow copy `s` of the net follows it after every `sync_period` steps, and
    the net continues from there:

    ```
    d = momentum * (step / ramp_steps) ** 3
    s = d * s + (1 - d) * net
    net = s
    ```

    It keeps the momentum of the optimizer inside.  When `fit` ends the net is
    `s`, so steps after the last of these count for nothing.

    Args:
        optimizer: The optimizer that makes the steps.
        sync_period: Number of steps after which the copy follows.
        momentum: How much of the copy stays, in [0, 1].
        ramp_steps: Number of steps over which that much is reached; from then
            on `d` is `momentum`.  None for `d = momentum` from the first.
        name: Name of the optimizer.

    Raises:
        TypeError: If `optimizer` is not a Keras optimizer.
        ValueError: If another argument is out of its range, or if `optimizer`
            averages or accumulates by itself.

    Example: as airbench has it, for 476 steps.

    ```python
    optimizer = Lookahead(PyTorchSGD(1.5, momentum=0.85), ramp_steps=476)
    ```

    References:
        - [Zhang et al., 2019](https://arxiv.org/abs/1907.08610)
        - [cifar10-airbench](https://github.com/KellerJordan/cifar10-airbench),
          for the ramp and the moving statistics.
    """

    writes_back = True

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        sync_period: int = 5,
        momentum: float = 0.95**5,
        ramp_steps: int | None = None,
        name: str = "lookahead",
    ):
        super().__init__(optimizer, name)
        self.sync_period = check_count("sync_period", sync_period)
        self.momentum = check_number("momentum", momentum, ge=0, le=1)
        if ramp_steps is not None:
            ramp_steps = check_count("ramp_steps", ramp_steps)
        self.ramp_steps = ramp_steps

    def due(self, step):
        return ops.equal(step % self.sync_period, 0)

    def kept(self, step):
        if self.ramp_steps is None:
            return self.momentum
        step = ops.minimum(ops.cast(step, precision()), self.ramp_steps)
        return self.momentum * (step / self.ramp_steps) ** 3

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "sync_period": self.sync_period,
            "momentum": self.momentum,
            "ramp_steps": self.ramp_steps,
        }


@keras.saving.register_keras_serializable("keras_davidnet")
class ExponentialAverage(Averaging):
    """Averages the net over its last steps, for when `fit` has ended.

    A slow copy `s` of the net follows it after the steps 1, `1 + period`,
    `1 + 2 * period`, ...:

    ```
    s = momentum * s + (1 - momentum) * net
    ```

    The net itself trains as it would without, and so validation within `fit`
    sees it.  When `fit` ends the net is `s`.

    Keras's own `use_ema` leaves out the moving statistics, and begins from
    zeros.

    Args:
        optimizer: The optimizer that makes the steps.
        period: Number of steps between two after which the copy follows.
        momentum: How much of the copy stays, in [0, 1].
        name: Name of the optimizer.

    Raises:
        TypeError: If `optimizer` is not a Keras optimizer.
        ValueError: If another argument is out of its range, or if `optimizer`
            averages or accumulates by itself.

    Example:

    ```python
    optimizer = ExponentialAverage(PyTorchSGD(0.4, momentum=0.9))
    ```

    References:
        - [Page, 2019](https://myrtle.ai/learn/how-to-train-your-resnet-8-bag-of-tricks/)
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        period: int = 5,
        momentum: float = 0.99**5,
        name: str = "exponential_average",
    ):
        super().__init__(optimizer, name)
        self.period = check_count("period", period)
        self.momentum = check_number("momentum", momentum, ge=0, le=1)

    def due(self, step):
        return ops.equal((step - 1) % self.period, 0)

    def kept(self, step):
        return self.momentum

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "period": self.period,
            "momentum": self.momentum,
        }
