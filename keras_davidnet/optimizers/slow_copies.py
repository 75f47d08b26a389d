"""Slow copies of a net that follow it."""

import abc

import keras
from keras import ops

from keras_davidnet.optimizers.grouped import members


class Averaging(keras.optimizers.Optimizer, abc.ABC):
    """An optimizer around another, which keeps a slow copy of each weight.

    A subclass says after which steps the copies follow, how much of them
    stays, and whether the net then takes them over.  Step 1 is the first.

    The copies begin as what the weights are before the first step of a `fit`,
    and are the net's weights when `fit` ends; `load_weights` between two leaves
    nothing of the old ones.  A state that was saved within a `fit` continues
    with its copies.

    In the models of this package all floats of the net are averaged, moving
    means and variances included; in other models those that are trained, as by
    Keras's own `use_ema`.
    """

    # Whether the net takes the copies over whenever they have followed.
    writes_back = False

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
        for member in members(optimizer):
            if member.use_ema or member.gradient_accumulation_steps:
                raise ValueError(
                    "`optimizer` must have neither `use_ema` nor "
                    "`gradient_accumulation_steps`. Received: "
                    f"use_ema={member.use_ema}, gradient_accumulation_steps="
                    f"{member.gradient_accumulation_steps}"
                )
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = optimizer
        self.__dict__["_statistics"] = []

    @abc.abstractmethod
    def due(self, step):
        """Whether the copies follow after this step, a boolean tensor."""

    @abc.abstractmethod
    def kept(self, step):
        """How much of the copies stays then, a tensor in [0, 1]."""

    def build(self, variables, statistics=()):
        """Makes the copies.

        Args:
            variables: The weights that are trained.
            statistics: Those that the net itself changes.  Whoever names them
                calls `before_step` and `after_step`.
        """
        if self.built:
            return
        self.inner_optimizer.build(variables)
        # Keras would count variables in an attribute as the optimizer's own.
        self.__dict__["_statistics"] = list(statistics)
        # 1 until the first step of a `fit`: the copies hold nothing yet.
        self._fresh = self.add_variable(
            (),
            initializer="ones",
            dtype="int32",
            aggregation="only_first_replica",
            name="fresh",
        )
        self._copies, self._statistics_copies = (
            [self.add_variable_from_reference(v, "slow") for v in weights]
            for weights in (variables, self._statistics)
        )
        super().build(variables)

    def apply(self, grads, trainable_variables=None):
        if len(grads) == 0:
            return
        if not self.built:
            self.build(list(trainable_variables or ()))
        weights = self._trainable_variables
        # New tensors: on PyTorch the step changes the weights in their place.
        starts = self._starts(weights, self._copies)
        self.inner_optimizer.apply(grads, trainable_variables)
        step = self.iterations
        self._follow(weights, self._copies, starts, self.due(step), step)
        self._fresh.assign(0)

    def before_step(self):
        """Notes the statistics; gives the number of the step to come."""
        copies = self._statistics_copies
        starts = self._starts(self._statistics, copies)
        for copy, start in zip(copies, starts, strict=True):
            copy.assign(start)
        return self.iterations + 1

    def after_step(self, step):
        """The copies of the statistics follow after this step.

        Unless a loss scaler left it out.
        """
        copies = self._statistics_copies
        starts = [ops.convert_to_tensor(copy) for copy in copies]
        due = ops.logical_and(ops.equal(self.iterations, step), self.due(step))
        self._follow(self._statistics, copies, starts, due, step)

    def _starts(self, weights, copies):
        tensor = ops.convert_to_tensor
        fresh = ops.equal(self._fresh, 1)
        return [
            ops.where(fresh, tensor(w), tensor(copy))
            for w, copy in zip(weights, copies, strict=True)
        ]

    def _follow(self, weights, copies, starts, due, step):
        new = 1 - ops.cast(self.kept(step), precision())
        for w, copy, start in zip(weights, copies, starts, strict=True):
            # So a weight that does not move equals its copy bit for bit.
            net = ops.convert_to_tensor(w)
            moved = start + ops.cast(new, w.dtype) * (net - start)
            copy.assign(ops.where(due, moved, start))
            if self.writes_back:
                w.assign(ops.where(due, moved, net))

    def finalize_variable_values(self, var_list):
        """The net takes its copies over; Keras calls it when `fit` ends."""
        # On JAX a step that fails leaves variables without a value; and without
        # a step the copies may hold nothing.
        if self._fresh._value is None or int(self._fresh.numpy()):
            return
        for weights, copies in (
            (self._trainable_variables, self._copies),
            (self._statistics, self._statistics_copies),
        ):
            for w, copy in zip(weights, copies, strict=True):
                # On JAX Keras gives the arrays of a net away when it predicts,
                # and its copies must not be among them.
                w.assign(ops.copy(copy))
        self._fresh.assign(1)

    @property
    def variables(self):
        return self._variables + self.inner_optimizer.variables

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


def precision():
    """Of the factors: 16 bits would hold neither them nor many steps."""
    return keras.backend.result_type("float32", keras.config.floatx())
