"""Decoupled weight decay."""

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_davidnet import _backend
from keras_davidnet._checks import check_number
from keras_davidnet.optimizers.grouped import leaf_optimizers


class DecoupledWeightDecay(keras.callbacks.Callback):
    """Decays the weights apart from gradient and velocity, while `fit` runs.

    Before each update, `w = w - learning_rate * weight_decay * w` (Loshchilov
    and Hutter, 2019, arXiv:1711.05101).  The decay is part of the compiled
    step, which is compiled for it when `fit` begins, and again without it for
    the next `fit`; whatever `steps_per_execution` is, it happens at every step.
    It replaces the optimizer's own decay, coupled or not.

    With `exclude`, the model trains with a copy of its optimizer.  When `fit`
    ends, the optimizer is as it was before, but for its variables.  After a
    `fit` that raised, the models of this package have it back too; for another
    model call `restore()`, or fit it with this callback again.

    A coupled decay of 5e-4 at momentum 0.9 is about a decoupled one of 5e-3.

    A model that is saved while `fit` runs keeps the rate of a stock Keras
    optimizer's decay in its file, but not `exclude`; pass the callback again
    when training continues.

    Args:
        weight_decay: Fraction of a weight that decays at learning rate 1.
        exclude: Regular expressions; weights whose `path` matches one of them
            are not decayed.  `["gamma", "beta"]` leaves batch normalization
            alone.

    Raises:
        ValueError: If `weight_decay` is negative or a pattern is not a regular
            expression, or, when `fit` begins, if a pattern matches no weight.
        TypeError: When `fit` begins, unless the model has a Keras optimizer.

    Example:

    ```python
    model.fit(train_ds, epochs=24, callbacks=[DecoupledWeightDecay(5e-3)])
    ```
    """

    def __init__(self, weight_decay: float, exclude: Sequence[str] = ()):
        super().__init__()
        weight_decay = check_number("weight_decay", weight_decay, ge=0)
        if not isinstance(exclude, list | tuple) or not all(
            isinstance(pattern, str | re.Pattern) for pattern in exclude
        ):
            raise TypeError(
                "`exclude` must be a list of regular expressions. "
                f"Received: exclude={exclude!r}"
            )
        try:
            for pattern in exclude:
                re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"`exclude` must hold regular expressions: {error}. "
                f"Received: exclude={exclude}"
            ) from error
        self.weight_decay = weight_decay
        self.exclude = tuple(exclude)
        # The model, its optimizer with the decays of its leaves, and the
        # optimizer in `fit`.
        self._armed: Any = None

    def on_train_begin(self, logs=None):
        self.restore()
        model, optimizer = self.model, self.model.optimizer
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                "DecoupledWeightDecay needs a model with a "
                "keras.optimizers.Optimizer. "
                f"Received: optimizer={optimizer!r}"
            )
        excluded = self._excluded_variables()
        _build(model)
        decays = [leaf.weight_decay for leaf in leaf_optimizers(optimizer)]
        if excluded:
            # Keras takes exclusions only before it builds an optimizer.
            copy = type(optimizer).from_config(optimizer.get_config())
            for leaf in leaf_optimizers(copy):
                leaf.exclude_from_weight_decay(var_list=excluded)
            model.optimizer = copy
            _build(model)
            _assign(copy, optimizer)
        self._armed = model, optimizer, decays, model.optimizer
        for leaf in leaf_optimizers(model.optimizer):
            leaf.weight_decay = self.weight_decay
        # The decay is read when the step is traced.
        model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        self.restore()

    def restore(self) -> None:
        """Gives the model of the last `fit` its optimizer back."""
        if self._armed is None:
            return
        # By now the callback may belong to another model.
        model, optimizer, decays, trained = self._armed
        self._armed = None
        for leaf, decay in zip(leaf_optimizers(optimizer), decays, strict=True):
            leaf.weight_decay = decay
        # The model may have been compiled since.
        if model.optimizer is trained:
            model.optimizer = optimizer
            model.make_train_function(force=True)
        if trained is not optimizer:
            # On JAX a step that fails leaves variables without a value.
            with contextlib.suppress(TypeError):
                _assign(optimizer, trained)

    def _excluded_variables(self):
        weights = self.model.trainable_variables
        for pattern in self.exclude:
            if not any(re.search(pattern, v.path) for v in weights):
                raise ValueError(
                    f"`exclude` pattern {pattern!r} matches none of the "
                    f"model's weights, {[v.path for v in weights]}. "
                    f"Received: exclude={self.exclude}"
                )
        return [
            v
            for v in weights
            if any(re.search(pattern, v.path) for pattern in self.exclude)
        ]


def _build(model):
    if not model.optimizer.built:
        # The models of this package build their optimizer here.
        model.make_train_function(force=True)
    if not model.optimizer.built:
        with _backend.variable_scope(model):
            model.optimizer.build(model.trainable_variables)


def _assign(optimizer, source):
    for variable, value in zip(
        optimizer.variables, source.variables, strict=True
    ):
        variable.assign(value)
