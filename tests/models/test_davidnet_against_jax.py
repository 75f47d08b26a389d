"""The net and a step of its training against a DavidNet in plain JAX."""

import keras
import numpy as np
import pytest

from keras_davidnet import DavidNet, PyTorchSGD

if keras.backend.backend() != "jax":
    pytest.skip("plain JAX is measured against on JAX", allow_module_level=True)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from plain import jax_davidnet  # noqa: E402


@pytest.mark.parametrize("batch", [4, 64])
def test_a_step_equals_plain_jax_s(rng, batch, monkeypatch):
    # The images as they are: the draws of two random generators differ.
    monkeypatch.setattr(jax_davidnet, "crop_and_flip", lambda key, x: x)
    net = jax_davidnet.logits_and_statistics
    monkeypatch.setattr(
        jax_davidnet,
        "logits_and_statistics",
        lambda *args: net(*args, dropout=0.0),
    )
    images = rng.integers(0, 256, (batch, 32, 32, 3), "uint8")
    labels = rng.integers(0, 10, batch, "int32")
    weights, statistics = jax_davidnet.initialize(jax.random.key(0), 4)
    velocities = [jnp.zeros_like(w) for w in weights]
    model = DavidNet(width=4, augmentation=None, dropout=0)
    moving = [v for v in model.non_trainable_variables if "moving" in v.path]
    variables = [*model.trainable_variables, *moving]
    for variable, array in zip(variables, weights + statistics, strict=True):
        # A copy, for `fit` and the step below give their arrays away.
        variable.assign(np.array(array))
    model.compile(PyTorchSGD(0.1, 0.9, nesterov=True, weight_decay=5e-4))
    logs = model.train_on_batch(images, labels, return_dict=True)
    state = weights, velocities, statistics, jax.random.key(1)
    state, (loss, hits) = jax_davidnet.train_step(state, images, labels, 0.1)
    weights, _, statistics, _ = state
    assert logs["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert logs["accuracy"] == pytest.approx(float(hits))
    for variable, array in zip(variables, weights + statistics, strict=True):
        np.testing.assert_allclose(
            variable.numpy(), array, rtol=0, atol=1e-4 * np.abs(array).max()
        )
