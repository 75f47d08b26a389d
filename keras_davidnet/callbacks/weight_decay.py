"""Decoupled weight decay."""

import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_davidnet._checks import check_number
from keras_davidnet.optimizers.grouped import leaf_optimizers

_EXCLUSIONS = "_exclude_from_weight_decay"


class DecoupledWeightDecay(keras.callbacks.Callback):
    """Decays the weights apart from gradient and velocity, while `fit` runs.

    Before each update, `w = w - learning_rate * weight_decay * w` (Loshchilov
    and Hutter, 2019, arXiv:1711.05101).  The decay is part of the compiled
    step, so it costs no synchronisation and happens at every step, whatever
    `steps_per_execution` is; the step is traced anew for it when `fit` begins,
    and for the next `fit` after that.  It replaces the decay of the
    optimizer, coupled or not; when `fit` ends, the optimizer is as it was
    before.  After a `fit` that raised, it is so when the next begins.

    A coupled decay of 5e-4 at momentum 0.9 is about a decoupled one of 5e-3.

    A model that is saved while `fit` runs keeps the rate of a stock Keras
    optimizer's decay in its file, but not `exclude`; pass the callback again
    when training continues.

    Args:
        weight_decay: Fraction of a weight that decays at learning rate 1.
        exclude: Regular expressions; a weight whose `path` one of them is
            found in does not decay.  `["gamma", "beta"]` leaves batch
            normalization alone.

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
        # The model, and for each member of its optimizer what it had.
        self._found: Any = None

    def on_train_begin(self, logs=None):
        # A fit that raised left the optimizer of some model armed.
        self._disarm()
        optimizer = self.model.optimizer
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                "DecoupledWeightDecay needs a model with a "
                "keras.optimizers.Optimizer. "
                f"Received: optimizer={optimizer!r}"
            )
        excluded = self._excluded_variables()
        if not optimizer.built:
            # Some have their members from then on only.
            optimizer.build(self.model.trainable_variables)
        self._found = (
            self.model,
            [
                (
                    member,
                    {
                        name: value
                        for name, value in vars(member).items()
                        if name == "weight_decay"
                        or name.startswith(_EXCLUSIONS)
                    },
                )
                for member in leaf_optimizers(optimizer)
            ],
        )
        for member in leaf_optimizers(optimizer):
            member.weight_decay = self.weight_decay
            member.exclude_from_weight_decay(var_list=excluded)
        # The decay is read when the step is traced.
        self.model.make_train_function(force=True)
        self.model.make_train_function = self._make_train_function

    def _make_train_function(self, force=False):
        """The model's own; a `fit` that finds it here followed one that raised.

        Keras tells callbacks nothing of a `fit` that raises, but makes the
        step, unforced, before each one begins.
        """
        model, _ = self._found
        if force:
            type(model).make_train_function(model, force=True)
        else:
            self._disarm()

    def on_train_end(self, logs=None):
        self._disarm()

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

    def _disarm(self):
        if self._found is None:
            return
        # By now the callback may belong to another model.
        model, found = self._found
        self._found = None
        vars(model).pop("make_train_function", None)
        for member, attributes in found:
            for name in list(vars(member)):
                if name.startswith(_EXCLUSIONS):
                    delattr(member, name)
            for name, value in attributes.items():
                setattr(member, name, value)
        model.make_train_function(force=True)
