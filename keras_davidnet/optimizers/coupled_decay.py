"""Weight decay that enters the gradient."""

import keras

from keras_davidnet._checks import check_number


class CoupledDecay(keras.optimizers.Optimizer):
    """An optimizer with coupled decay, in `coupled_weight_decay`.

    A subclass calls `decayed` in its `update_step`.
    """

    def __init__(self, *args, coupled_weight_decay: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.coupled_weight_decay = check_number(
            "weight_decay", coupled_weight_decay, ge=0
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
