"""Keras at another precision for a while."""

import contextlib

import keras


@contextlib.contextmanager
def floats(dtype):
    """Keras at this precision, losses included."""
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "jax":
            import jax

            stack.enter_context(jax.enable_x64(dtype == "float64"))
        # Both before either is set: unset, the policy follows `floatx`.
        for set_, before in (
            (keras.config.set_floatx, keras.config.floatx()),
            (keras.config.set_dtype_policy, keras.config.dtype_policy()),
        ):
            stack.callback(set_, before)
            set_(dtype)
        yield
