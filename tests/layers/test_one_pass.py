"""GELU, SiLU and CELU, trained and inferred, against their formulas."""

import math

import keras
import numpy as np
import pytest

from keras_davidnet import CELU, ConvBN, ConvGroup
from keras_davidnet.layers.one_pass import FastActivation

erf = np.vectorize(math.erf)


def gelu(x):
    cdf = (1 + erf(x / 2**0.5)) / 2
    slope = np.exp(-(x**2) / 2) / (2 * math.pi) ** 0.5
    return x * cdf, cdf + x * slope


def silu(x):
    sigmoid = 1 / (1 + np.exp(-x))
    return x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))


def celu(x):
    negative = np.exp(np.minimum(x, 0) / 0.3)
    return np.where(x > 0, x, 0.3 * (negative - 1)), negative


ACTIVATIONS = {
    "gelu": (lambda dtype: FastActivation("gelu", dtype=dtype), gelu),
    "silu": (lambda dtype: FastActivation("silu", dtype=dtype), silu),
    "celu": (lambda dtype: CELU(0.3, dtype=dtype), celu),
}


class Offsets(keras.layers.Layer):
    """Makes the gradient with respect to its inputs that of a weight."""

    def build(self, input_shape):
        self.offsets = self.add_weight(shape=input_shape[1:], name="offsets")

    def call(self, inputs):
        return inputs + keras.ops.cast(self.offsets, self.compute_dtype)


# The 20 steps against PyTorch are in float64.
@pytest.mark.parametrize(
    "policy, tolerance", [("float32", 1e-6), ("mixed_bfloat16", 2**-8)]
)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_values_and_gradients(kind, policy, tolerance):
    make, formula = ACTIVATIONS[kind]
    if kind == "silu" and keras.backend.backend() == "jax":
        tolerance *= 2  # Its own rounds the sigmoid, too.
    x = np.linspace(-4, 4, 65, dtype="float32")[None]  # exact in 16 bits
    values, slopes = formula(x)
    layer, offsets = make(policy), Offsets(dtype=policy)
    for training in True, False:
        outputs = layer(x, training=training)
        dtype = keras.backend.standardize_dtype(outputs.dtype)
        assert dtype == layer.compute_dtype
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")),
            values,
            rtol=tolerance,
            atol=tolerance,
        )
    # A step of plain SGD on the sum takes off the gradient.
    model = keras.Sequential([offsets, layer])
    model.build(x.shape)
    offsets.offsets.assign(np.zeros(65))
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda _, y: keras.ops.sum(keras.ops.cast(y, "float32"), -1),
    )
    model.train_on_batch(x, np.zeros((1, 1)))
    np.testing.assert_allclose(
        -keras.ops.convert_to_numpy(offsets.offsets),
        slopes[0],
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize(
    "layer", [ConvBN(4, activation="gelu", dropout=0), ConvGroup(4)]
)
def test_training_computes_what_keras_does(rng, layer):
    x = rng.normal(size=(2, 6, 6, 3)).astype("float32")
    ours = keras.ops.convert_to_numpy(layer(x, training=True))
    config = {
        **layer.get_config(),
        "activation": keras.layers.Activation("gelu"),
    }
    stock = type(layer).from_config(config)
    stock.build(x.shape)
    stock.set_weights(layer.get_weights())
    np.testing.assert_allclose(
        ours,
        keras.ops.convert_to_numpy(stock(x, training=True)),
        rtol=1e-5,
        atol=1e-6,
    )
