"""Slow weights that follow a net: Lookahead, and the moving average."""

import abc

import keras
from keras import ops

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.optimizers.grouped import leaf_optimizers


class Averaging(keras.optimizers.Optimizer, abc.ABC):
    """An optimizer around another, which keeps slow weights beside the net's.

    After the steps that `should_update` names, the slow weights `s` move:

    ```
    s = decay(step) * s + (1 - decay(step)) * net
    ```

    They begin as what the weights are before the first step of a `fit`, and the
    net has them when `fit` ends; `load_weights` between two leaves nothing of
    the old ones.  A state that was saved within a `fit` continues with its slow
    weights.

    In the models of this package all floats of the net are averaged, moving
    means and variances included, unless a subclass has a `train_step` of its
    own; in other models the trained weights, as by Keras's own `use_ema`.
    """

    # If true, the net is reset to the slow weights whenever these are updated.
    sync_model = False

    def __init__(self, optimizer: keras.optimizers.Optimizer, name: str):
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                "`optimizer` must be a keras.optimizers.Optimizer. "
                f"Received: optimizer={optimizer!r}"
            )
        if isinstance(
            optimizer, Averaging | keras.optimizers.LossScaleOptimizer
        ):
            raise ValueError(
                f"{type(self).__name__} takes an optimizer that neither "
                "averages weights nor scales the loss; a loss scaler goes "
                f"around it. Received: optimizer={optimizer!r}"
            )
        for leaf in leaf_optimizers(optimizer):
            if leaf.use_ema or leaf.gradient_accumulation_steps:
                raise ValueError(
                    "`optimizer` must have neither `use_ema` nor "
                    "`gradient_accumulation_steps`. Received: "
                    f"use_ema={leaf.use_ema}, gradient_accumulation_steps="
                    f"{leaf.gradient_accumulation_steps}"
                )
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = optimizer

    @abc.abstractmethod
    def should_update(self, step):
        """Whether the slow weights move after this step; the first is 1."""

    @abc.abstractmethod
    def decay(self, step):
        """How much of the slow weights stays then, a tensor in [0, 1]."""

    def build(self, variables, statistics=()):
        """Makes the slow weights.

        Args:
            variables: The weights that are trained.
            statistics: Variables that the net itself changes.  The training
                step must call `before_step` and `after_step` for them.
        """
        if self.built:
            return
        self.inner_optimizer.build(variables)
        self._trained = _SlowWeights(self, variables)
        self._statistics = _SlowWeights(self, statistics)
        super().build(variables)

    def apply(self, grads, trainable_variables=None):
        if len(grads) == 0:
            return
        if not self.built:
            self.build(list(trainable_variables or ()))
        # New tensors: on PyTorch the step changes the weights in their place.
        starts = self._trained.starts()
        self.inner_optimizer.apply(grads, trainable_variables)
        step = self.iterations
        self._update(self._trained, starts, step, self.should_update(step))
        self._trained.initialized.assign(1)

    def before_step(self):
        """Notes the statistics; returns the number of the step to come."""
        statistics = self._statistics
        for slow, start in zip(
            statistics.slow, statistics.starts(), strict=True
        ):
            slow.assign(start)
        return self.iterations + 1

    def after_step(self, step):
        """Updates the averages of the statistics.

        Unless a loss scaler left the step out.
        """
        statistics = self._statistics
        starts = [ops.convert_to_tensor(slow) for slow in statistics.slow]
        done = ops.equal(self.iterations, step)
        due = ops.logical_and(done, self.should_update(step))
        self._update(statistics, starts, step, due)
        statistics.initialized.assign(
            ops.maximum(statistics.initialized, ops.cast(done, "int32"))
        )

    def _update(self, weights, starts, step, due):
        new = 1 - ops.cast(self.decay(step), precision())
        for fast, slow, start in zip(
            weights.fast, weights.slow, starts, strict=True
        ):
            # So a weight that does not move equals its average bit for bit.
            net = ops.convert_to_tensor(fast)
            moved = start + ops.cast(new, fast.dtype) * (net - start)
            slow.assign(ops.where(due, moved, start))
            if self.sync_model:
                fast.assign(ops.where(due, moved, net))

    def finalize_variable_values(self, var_list):
        """Gives the net its slow weights; Keras calls it when `fit` ends."""
        self._trained.finalize()
        self._statistics.finalize()

    def reset(self) -> None:
        """Forgets the slow weights; the next step begins with the net's."""
        if self.built:
            self._trained.initialized.assign(0)
            self._statistics.initialized.assign(0)

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
    def iterations(self):
        return self.inner_optimizer.iterations

    # A loss scaler sets it to None.

    @property
    def loss_scale_factor(self):
        return self.inner_optimizer.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor):
        # Keras sets it before there is an optimizer.
        if hasattr(self, "inner_optimizer"):
            self.inner_optimizer.loss_scale_factor = factor

    def get_config(self) -> dict:
        return {
            "optimizer": keras.optimizers.serialize(self.inner_optimizer),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        optimizer = keras.optimizers.deserialize(
            config["optimizer"], custom_objects
        )
        return cls(**{**config, "optimizer": optimizer})


class _SlowWeights:
    """Variables of a net, and the optimizer's variables that follow them."""

    def __init__(self, optimizer, variables):
        self.fast = list(variables)
        self.slow = [
            optimizer.add_variable_from_reference(v, "slow") for v in variables
        ]
        # 0 until the first step of a `fit`: the slow ones hold nothing yet.
        self.initialized = optimizer.add_variable(
            (),
            initializer="zeros",
            dtype="int32",
            aggregation="only_first_replica",
            name="initialized",
        )

    def starts(self):
        """Tensors of the slow weights, or of the net's before the first."""
        tensor = ops.convert_to_tensor
        initialized = ops.equal(self.initialized, 1)
        return [
            ops.where(initialized, tensor(slow), tensor(fast))
            for fast, slow in zip(self.fast, self.slow, strict=True)
        ]

    def finalize(self):
        # On JAX a step that fails leaves variables without a value.
        if self.initialized._value is None or not int(self.initialized.numpy()):
            return
        for fast, slow in zip(self.fast, self.slow, strict=True):
            # On JAX Keras gives the arrays of a net away when it predicts, and
            # the slow weights must not be among them.
            fast.assign(ops.copy(slow))
        self.initialized.assign(0)


def precision():
    """Precision of the factors, for which 16 bits are too few."""
    return keras.backend.result_type("float32", keras.config.floatx())


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
        optimizer: The optimizer of the net's own steps.
        sync_period: Number of steps between two updates of the slow weights.
        momentum: How much of the slow weights stays, in [0, 1].
        ramp_steps: Number of steps over which `d` rises to `momentum`; None
            for `d = momentum` from the first.
        name: Name of the optimizer.

    Raises:
        TypeError: If `optimizer` is not a Keras optimizer.
        ValueError: If another argument is out of its range, or if `optimizer`
            averages or accumulates by itself.

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

    def should_update(self, step):
        return ops.equal(step % self.sync_period, 0)

    def decay(self, step):
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
    """Exponential moving average of the net, which it has when `fit` ends.

    The slow weights `s` begin as the net's first weights, and move after the
    steps 1, `1 + period`, `1 + 2 * period`, ...:

    ```
    s = momentum * s + (1 - momentum) * net
    ```

    Training itself does not depend on the average, and validation within `fit`
    sees the net without it.  After `n` updates the first weights still make
    up `momentum ** n` of the average, so choose a lower `momentum` for a run
    of few steps.

    Keras's own `use_ema` leaves out the moving statistics.

    Args:
        optimizer: The optimizer of the net's own steps.
        period: Number of steps between two updates of the average.
        momentum: How much of the average stays at each update, in [0, 1].
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
