"""Slow weights that follow a net: Lookahead, and the moving average."""

import abc
from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.optimizers.leaves import leaf_optimizers, unwrap

# What the slow weights hold: nothing until the first step of a `fit`, then an
# average of the weights, or of the moving statistics as well.
_NOTHING, _WEIGHTS, _STATISTICS_TOO = 1, 0, -1


class Averaging(keras.optimizers.Optimizer, abc.ABC):
    """An optimizer around another, which keeps slow weights beside the net's.

    After the steps that `should_update` names, the slow weights `s` move:

    ```
    s = decay(step) * s + (1 - decay(step)) * net
    ```

    They begin as the weights before the first step of a `fit`, and the net has
    them when `fit` ends.  In the models of this package the moving statistics
    are averaged too, unless a subclass has a `train_step` of its own.
    """

    # If true, the net is reset to the slow weights whenever these are updated.
    sync_model = False

    def __init__(self, optimizer: keras.optimizers.Optimizer | str, name: str):
        optimizer = keras.optimizers.get(optimizer)
        if len(unwrap(optimizer)) > 1 or any(
            leaf.use_ema
            or leaf.gradient_accumulation_steps
            or leaf.loss_scale_factor
            for leaf in leaf_optimizers(optimizer)
        ):
            raise ValueError(
                "`optimizer` must neither average weights nor accumulate "
                "gradients nor scale the loss; a loss scaler goes around the "
                f"average. Received: optimizer={optimizer!r}"
            )
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer: Any = optimizer

    @abc.abstractmethod
    def should_update(self, step):
        """Whether the slow weights move after this step; the first is 1."""

    @abc.abstractmethod
    def decay(self, step):
        """How much of the slow weights stays then, in [0, 1]."""

    def build(self, variables):
        if self.built:
            return
        self.inner_optimizer.build(variables)
        self._held = self.add_variable(
            (),
            initializer="ones",
            dtype="int32",
            aggregation="only_first_replica",
            name="fresh",
        )
        self._add_slow("_trained", variables)
        self._add_slow("_statistics", [])
        super().build(variables)

    def build_statistics(self, statistics):
        """Makes slow copies of variables that the net itself changes.

        The training step must call `before_step` and `after_step` for them.
        """
        if not self._statistics:
            self._add_slow("_statistics", statistics)

    def _add_slow(self, name, weights):
        # Keras would take variables in an attribute for the optimizer's own.
        self.__dict__[name] = [
            (weight, self.add_variable_from_reference(weight, "slow"))
            for weight in weights
        ]

    def apply(self, grads, trainable_variables=None):
        if len(grads) == 0:
            return
        if not self.built:
            self.build(list(trainable_variables or ()))
        self._begin(self._trained)
        self.inner_optimizer.apply(grads, trainable_variables)
        self._held.assign(_WEIGHTS)
        self._update(self._trained, self.iterations)

    def before_step(self):
        """Notes the statistics; returns the number of the step to come."""
        self._begin(self._statistics)
        return self.iterations + 1

    def after_step(self, step):
        """Updates the averages of the statistics."""
        self._update(self._statistics, step)
        # A loss scaler may have left out the first step.
        nothing = ops.equal(self._held, _NOTHING)
        self._held.assign(ops.where(nothing, _NOTHING, _STATISTICS_TOO))

    def _begin(self, pairs):
        nothing = ops.equal(self._held, _NOTHING)
        for net, slow in pairs:
            start = ops.convert_to_tensor(slow)
            slow.assign(ops.where(nothing, ops.convert_to_tensor(net), start))

    def _update(self, pairs, step):
        # 16 bits are too few for the factors.
        precision = keras.backend.result_type("float32", keras.config.floatx())
        new = 1 - ops.cast(self.decay(ops.cast(step, precision)), precision)
        # A loss scaler may have left the step out.
        due = ops.logical_and(
            ops.equal(self.iterations, step), self.should_update(step)
        )
        for variable, slow in pairs:
            net = ops.convert_to_tensor(variable)
            start = ops.convert_to_tensor(slow)
            # So a weight that does not move equals its average bit for bit.
            moved = start + ops.cast(new, variable.dtype) * (net - start)
            slow.assign(ops.where(due, moved, start))
            if self.sync_model:
                variable.assign(ops.where(due, moved, net))

    def finalize_variable_values(self, var_list):
        """Gives the net its slow weights; Keras calls it when `fit` ends."""
        if not self.built:
            return
        # On JAX a step that fails leaves variables without a value.
        if self._held._value is None:
            return
        held = int(self._held.numpy())
        if held == _NOTHING:
            return
        pairs = self._trained
        if held == _STATISTICS_TOO:
            pairs = pairs + self._statistics
        for net, slow in pairs:
            # On JAX Keras gives the arrays of a net away when it predicts, and
            # the slow weights must not be among them.
            net.assign(ops.copy(slow))
        self.reset()

    def reset(self) -> None:
        """Forgets the slow weights; the next step begins with the net's."""
        if self.built:
            self._held.assign(_NOTHING)

    @property
    def variables(self):
        return super().variables + self.inner_optimizer.variables

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def optimizers(self):
        """The groups'; Keras's callbacks look for them to set their rates."""
        return self.inner_optimizer.optimizers

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    def get_config(self) -> dict:
        return {
            "optimizer": keras.optimizers.serialize(self.inner_optimizer),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(
            **keras.saving.deserialize_keras_object(config, custom_objects)
        )


def find_average(optimizer: keras.optimizers.Optimizer) -> Averaging | None:
    """The part of an optimizer that averages weights."""
    layers = unwrap(optimizer)
    return next((one for one in layers if isinstance(one, Averaging)), None)


@keras.saving.register_keras_serializable("keras_davidnet")
class Lookahead(Averaging):
    """Lookahead: interpolates towards slow weights every `sync_period` steps.

    After every `sync_period` steps the slow weights `s` move towards the net,
    and the net continues from there:

    ```
    d = momentum * (step / ramp_steps) ** 3
    s = d * s + (1 - d) * net
    net = s
    ```

    The inner optimizer keeps its momentum.  When `fit` ends the net has the
    slow weights, so steps after their last update have no effect.

    Args:
        optimizer: The optimizer of the net's own steps, or its name.
        sync_period: Number of steps between two updates of the slow weights.
        momentum: How much of the slow weights stays, in [0, 1].
        ramp_steps: Number of steps over which `d` rises to `momentum`; None
            for `d = momentum` from the first.

    Raises:
        ValueError: If an argument is out of its range, or if `optimizer`
            averages, accumulates or scales the loss.

    Example: airbench's, for 476 steps.

    ```python
    optimizer = Lookahead(PyTorchSGD(1.5, momentum=0.85), ramp_steps=476)
    ```

    References:
        - [Zhang et al., 2019](https://arxiv.org/abs/1907.08610)
        - [cifar10-airbench](https://github.com/KellerJordan/cifar10-airbench),
          for the ramp, and for averaging the moving statistics.
    """

    sync_model = True

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | str,
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

    def should_update(self, step):
        return ops.equal(step % self.sync_period, 0)

    def decay(self, step):
        if self.ramp_steps is None:
            return self.momentum
        step = ops.minimum(step, self.ramp_steps)
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
    """Exponential moving average of the net, which it has when `fit` ends.

    The average `s` begins as the net's first weights, and moves after the steps
    1, `1 + period`, `1 + 2 * period`, ...:

    ```
    s = momentum * s + (1 - momentum) * net
    ```

    Validation within `fit` sees the net without the average.  After `n` updates
    the first weights still make up `momentum ** n` of it, so choose a lower
    `momentum` for a run of few steps.  Keras's own `use_ema` leaves out the
    moving statistics.

    Args:
        optimizer: The optimizer of the net's own steps, or its name.
        period: Number of steps between two updates of the average.
        momentum: How much of the average stays at each update, in [0, 1].

    Raises:
        ValueError: If an argument is out of its range, or if `optimizer`
            averages, accumulates or scales the loss.

    Example:

    ```python
    optimizer = ExponentialAverage(PyTorchSGD(0.4, momentum=0.9))
    ```

    References:
        - [Page, 2019](https://myrtle.ai/learn/how-to-train-your-resnet-8-bag-of-tricks/)
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        period: int = 5,
        momentum: float = 0.99**5,
        name: str = "exponential_average",
    ):
        super().__init__(optimizer, name)
        self.period = check_count("period", period)
        self.momentum = check_number("momentum", momentum, ge=0, le=1)

    def should_update(self, step):
        return ops.equal((step - 1) % self.period, 0)

    def decay(self, step):
        return self.momentum

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "period": self.period,
            "momentum": self.momentum,
        }
