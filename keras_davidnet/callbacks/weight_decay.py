"""Decoupled weight decay."""

import contextlib
import re
from collections.abc import Sequence
from typing import Any

from keras_davidnet import _backend
from keras_davidnet._checks import check_number
from keras_davidnet.callbacks.fit_hooks import FitHooks
from keras_davidnet.optimizers.leaves import build_optimizer, leaf_optimizers

# Keras's Muon has a second one, for what is no matrix.
_DECAYS = "weight_decay", "adam_weight_decay"


class DecoupledWeightDecay(FitHooks):
    """Decoupled weight decay in `fit`, in place of the optimizer's own.

    Before each update, `w = w - learning_rate * weight_decay * w` (Loshchilov
    and Hutter, 2019, arXiv:1711.05101).  The decay is part of the compiled
    step, at any `steps_per_execution`.  A coupled decay of 5e-4 at momentum 0.9
    is about a decoupled one of 5e-3.

    After `fit`, the optimizer's own weight decay is restored.  After a `fit` of
    a stock Keras model that raised an error, call `restore()`.

    If a model with a stock Keras optimizer is saved while `fit` runs, its file
    holds this `weight_decay`, but not `exclude`.  Pass the callback again to
    continue training.

    Args:
        weight_decay: At each update, weights shrink by this times the learning
            rate.
        exclude: Regular expressions; weights whose `path` matches one of them
            are not decayed.  `["gamma", "beta"]` leaves batch normalization
            alone.

    Raises:
        ValueError: If `weight_decay` is negative, or, when `fit` begins, if a
            pattern matches no weight.

    Example:

    ```python
    model.fit(train_ds, epochs=24, callbacks=[DecoupledWeightDecay(5e-3)])
    ```
    """

    def __init__(self, weight_decay: float, exclude: Sequence[str] = ()):
        super().__init__()
        self.weight_decay = check_number("weight_decay", weight_decay, ge=0)
        if not isinstance(exclude, list | tuple):
            raise TypeError(
                "`exclude` must be a list of regular expressions. "
                f"Received: exclude={exclude!r}"
            )
        self.exclude = tuple(exclude)
        # The model, its optimizer with the decays of its leaves, and the
        # optimizer in `fit`.
        self._armed: Any = None

    def on_train_begin(self, logs=None):
        self.restore()
        model, optimizer = self.model, self.model.optimizer
        excluded = self._excluded_variables()
        build_optimizer(model)
        decays = [
            {
                name: getattr(leaf, name)
                for name in _DECAYS
                if hasattr(leaf, name)
            }
            for leaf in leaf_optimizers(optimizer)
        ]
        if excluded:
            # Keras takes exclusions only before it builds an optimizer.
            with _backend.variable_scope(model):
                copy = type(optimizer).from_config(optimizer.get_config())
            for leaf in leaf_optimizers(copy):
                leaf.exclude_from_weight_decay(var_list=excluded)
            model.optimizer = copy
            build_optimizer(model)
            _assign(copy, optimizer)
        self._armed = model, optimizer, decays, model.optimizer
        for leaf, own in zip(
            leaf_optimizers(model.optimizer), decays, strict=True
        ):
            for name in own:
                setattr(leaf, name, self.weight_decay)
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
        for leaf, own in zip(leaf_optimizers(optimizer), decays, strict=True):
            for name, decay in own.items():
                setattr(leaf, name, decay)
        # The model may have been compiled since.
        if model.optimizer is trained:
            model.optimizer = optimizer
            model.make_train_function(force=True)
        if trained is not optimizer:
            # On JAX a step that fails leaves variables without a value.
            with contextlib.suppress(TypeError):
                _assign(optimizer, trained)

    def _excluded_variables(self):
        weights, excluded = self.model.trainable_variables, []
        for pattern in self.exclude:
            matches = [v for v in weights if re.search(pattern, v.path)]
            if not matches:
                raise ValueError(
                    f"`exclude` pattern {pattern!r} matches none of the "
                    f"model's weights, {[v.path for v in weights]}. "
                    f"Received: exclude={self.exclude}"
                )
            excluded += matches
        return excluded


def _assign(optimizer, source):
    for variable, value in zip(
        optimizer.variables, source.variables, strict=True
    ):
        variable.assign(value)
