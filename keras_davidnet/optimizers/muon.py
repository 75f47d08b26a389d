"""Muon for the kernels of convolutions."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import (
    check_count,
    check_number,
    check_numbers,
    to_python,
)


@keras.saving.register_keras_serializable("keras_davidnet")
class Muon(keras.optimizers.Optimizer):
    """Momentum, orthogonalized, for the kernels of convolutions.

    A kernel of shape `(*spatial, in, out)` counts as a matrix with `out` rows,
    one for each filter.  For a kernel `W` with gradient `G`:

    ```
    B = momentum * B + G
    U = G + momentum * B            # Nesterov; else B
    W = W * sqrt(out) / ||W||       # if normalize_weights
    X = U / (||U|| + 1e-7)
    repeat ns_steps times:          # Newton-Schulz
        A = X X^T
        X = a X + (b A + c A A) X   # a, b, c = ns_coefficients
    W = W - learning_rate * X
    ```

    The iteration brings the singular values of `X` to about 1.  The norms are
    Frobenius norms.

    `keras.optimizers.Muon` orthogonalizes matrices only and trains convolutions
    with AdamW.  This one takes only the kernels of convolutions; give the other
    weights to another optimizer, by `GroupedOptimizer`.

    Args:
        learning_rate: A float, a `LearningRateSchedule` or a callable.
        momentum: In `[0, 1]`.
        nesterov: Whether to use Nesterov's momentum.
        ns_steps: Number of Newton-Schulz iterations.
        ns_coefficients: `(a, b, c)` of the iteration.
        normalize_weights: Whether to scale each kernel to a norm of
            `sqrt(out)` before each step, in the place of weight decay.
        **kwargs: Arguments of `keras.optimizers.Optimizer`: `weight_decay`,
            `name`, ...

    Raises:
        ValueError: If an argument is out of its range, or, when it is built,
            if one of the weights is not the kernel of a convolution.

    Example:

    ```python
    optimizer = GroupedOptimizer(
        PyTorchSGD(0.1, momentum=0.9), {".*conv.*/kernel": Muon(0.02)}
    )
    ```

    References:
        - [Jordan et al., 2024](https://kellerjordan.github.io/posts/muon/)
        - [cifar10-airbench](https://github.com/KellerJordan/cifar10-airbench),
          for the normalization of the weights.
    """

    def __init__(
        self,
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule
        | Callable = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        ns_coefficients: Sequence[float] = (3.4445, -4.7750, 2.0315),
        normalize_weights: bool = False,
        name: str = "muon",
        **kwargs: Any,
    ):
        if not callable(learning_rate):
            learning_rate = check_number("learning_rate", learning_rate, ge=0)
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = check_number("momentum", momentum, ge=0, le=1)
        self.nesterov = to_python(nesterov)
        self.ns_steps = check_count("ns_steps", ns_steps)
        self.ns_coefficients = tuple(
            check_numbers("ns_coefficients", ns_coefficients)
        )
        if len(self.ns_coefficients) != 3:
            raise ValueError(
                "`ns_coefficients` must be three numbers. "
                f"Received: ns_coefficients={ns_coefficients}"
            )
        self.normalize_weights = to_python(normalize_weights)

    def build(self, variables):
        if self.built:
            return
        for variable in variables:
            if not 3 <= len(variable.shape) <= 5:
                raise ValueError(
                    "Muon takes the kernels of convolutions, of shape "
                    "(*spatial, in, out). Give the other weights to another "
                    "optimizer: GroupedOptimizer(other, {pattern: Muon(...)}). "
                    f"Received: {variable.path} of shape "
                    f"{tuple(variable.shape)}"
                )
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        momentum = self.momentums[self._get_variable_index(variable)]
        update = self.momentum * momentum + gradient
        self.assign(momentum, update)
        if self.nesterov:
            update = gradient + self.momentum * update
        update = self._orthogonalize(update)
        weights = ops.convert_to_tensor(variable)
        if self.normalize_weights:
            weights = weights * (variable.shape[-1] ** 0.5 / _norm(weights))
        self.assign(variable, weights - learning_rate * update)

    def _orthogonalize(self, update):
        a, b, c = self.ns_coefficients
        x = ops.reshape(update, (-1, update.shape[-1]))
        x = x / (_norm(x) + 1e-7)
        for _ in range(self.ns_steps):
            # The same for `x` and its transpose: the smaller matrix is made.
            if x.shape[0] > x.shape[1]:
                gram = ops.matmul(ops.transpose(x), x)
                x = a * x + ops.matmul(x, b * gram + c * ops.matmul(gram, gram))
            else:
                gram = ops.matmul(x, ops.transpose(x))
                x = a * x + ops.matmul(b * gram + c * ops.matmul(gram, gram), x)
        return ops.reshape(x, update.shape)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "ns_steps": self.ns_steps,
            "ns_coefficients": self.ns_coefficients,
            "normalize_weights": self.normalize_weights,
        }


def _norm(array):
    return ops.sqrt(ops.sum(ops.square(array)))
