"""A model of any precision that computes in float32 for a while."""

import contextlib

import keras


class _Float32(keras.DTypePolicy):
    """Computes in float32, whatever precision the variables have."""

    def __init__(self, variable_dtype):
        super().__init__("float32")
        self._stored = variable_dtype

    @property
    def variable_dtype(self):
        return self._stored


@contextlib.contextmanager
def in_float32(model):
    """Has every layer that is not quantized compute in float32."""
    policies = [
        (layer, layer.dtype_policy)
        for layer in model._flatten_layers()
        if layer.dtype_policy.quantization_mode is None
    ]
    try:
        for layer, policy in policies:
            layer.dtype_policy = _Float32(policy.variable_dtype)
        # The logits have the precision of the model's variables.
        model.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in policies:
            layer.dtype_policy = policy
