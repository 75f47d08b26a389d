"""Keras at another precision for a while."""

import contextlib
from unittest import mock

import keras
from keras.src.backend.common import dtypes


@contextlib.contextmanager
def floats(dtype):
    """Keras at this precision, losses included."""
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "jax":
            import jax

            stack.enter_context(jax.enable_x64(dtype == "float64"))
        # On JAX and torch Keras takes two float64 for a float32.
        stack.enter_context(
            mock.patch.dict(dtypes.BIT64_TO_BIT32_DTYPE, float64="float64")
        )
        # Both before either is set: unset, the policy follows `floatx`.
        for set_, before in (
            (keras.config.set_floatx, keras.config.floatx()),
            (keras.config.set_dtype_policy, keras.config.dtype_policy()),
        ):
            stack.callback(set_, before)
            set_(dtype)
        yield
