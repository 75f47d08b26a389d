"""All public layers and nets, some with odd sublayers; and what they are.

As a script it loads what `test_every_part.py` saved, in a separate process.
"""

import json
import re
import sys

import keras
import numpy as np

from keras_davidnet import (
    CELU,
    Airbench,
    ConvBN,
    ConvGroup,
    DavidNet,
    GhostBatchNormalization,
    GhostBlock,
    ImageClassifier,
    NavierStoked,
    PyTorchSGD,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
    ResBlock,
    WhitenedDavidNet,
    WhiteningConv2D,
)
from keras_davidnet.layers.composite import CompositeLayer

BACKEND = keras.backend.backend()


@keras.saving.register_keras_serializable("tests")
class Half(keras.layers.Layer):
    """It has no `compute_output_shape`, which Keras does not ask for."""

    def call(self, inputs):
        return inputs[:, ::2, ::2]


@keras.saving.register_keras_serializable("tests")
class WithHead(DavidNet):
    """A subclass that adds a layer to what it was given."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Dense(3, name="embedding")

    def call(self, images, training=False):
        return self.embedding(super().call(images, training=training))


def prelu():
    return keras.layers.PReLU(
        alpha_initializer=keras.initializers.Constant(0.2),
        shared_axes=[1, 2],
        name="slope",
    )


def two_blocks(dtype):
    pool = keras.layers.Conv2D(4, 3, 2, padding="same", name="halve")
    return [ResBlock(4, pool=pool, dtype=dtype) for _ in range(2)]


@keras.saving.register_keras_serializable("tests")
class Unnamed(CompositeLayer, keras.layers.Layer):
    """Keras counts up the names of its sublayers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [ConvBN(4, dtype=self.dtype_policy) for _ in range(3)]

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)
            input_shape = block.compute_output_shape(input_shape)

    def call(self, x, training=False):
        for block in self.blocks:
            x = block(x, training=training)
        return x


def unnamed_frozen_blocks(dtype):
    layer = Unnamed(dtype=dtype)
    layer.blocks[1].trainable = layer.blocks[2].bn.trainable = False
    return [layer]


def whitening(dtype):
    layer = WhiteningConv2D(dtype=dtype)
    layer.adapt(data()[0] / 255)
    return [layer]


def half_frozen_block(dtype):
    block = ResBlock(4, residual=True, dtype=dtype)
    block.conv.trainable = block.res1.bn.trainable = False
    return [block]


LAYERS = {
    "conv_bn": lambda dtype: [ConvBN(4, strides=2, dtype=dtype)],
    "conv_bn_prelu": lambda dtype: [ConvBN(4, activation=prelu(), dtype=dtype)],
    "res_block": lambda dtype: [ResBlock(4, residual=True, dtype=dtype)],
    "res_block_prelu": lambda dtype: [
        ResBlock(4, residual=True, activation=prelu(), dtype=dtype)
    ],
    "res_block_half": lambda dtype: [ResBlock(4, pool=Half(), dtype=dtype)],
    "res_block_frozen": half_frozen_block,
    "unnamed_frozen": unnamed_frozen_blocks,
    "two_blocks": two_blocks,
    "conv_group": lambda dtype: [ConvGroup(4, dtype=dtype)],
    "conv_group_prelu": lambda dtype: [
        ConvGroup(4, residual=True, activation=prelu(), dtype=dtype)
    ],
    "whitening": whitening,
    "ghost_batch_norm": lambda dtype: [
        GhostBatchNormalization(4, dtype=dtype),
        CELU(0.3, dtype=dtype),
    ],
    "ghost_block": lambda dtype: [
        GhostBlock(4, residual=True, groups=2, dtype=dtype)
    ],
    "augmentation": lambda dtype: [
        RandomPadCrop(2, seed=1, dtype=dtype),
        RandomHorizontalFlip(seed=2, dtype=dtype),
        RandomCutout(4, seed=3, dtype=dtype),
    ],
}


def small(cls, dtype, **arguments):
    arguments = {"input_shape": (16, 16, 3), "num_classes": 3, **arguments}
    return cls(dtype=dtype, **arguments)


def frozen_net(dtype):
    net = small(DavidNet, dtype, width=1)
    net.prep.trainable = net.layer1.trainable = False
    net.layer1.res2.conv.trainable = True
    return net


def thawed_head(dtype):
    net = small(DavidNet, dtype, width=1, trainable=False)
    net.trainable = True
    net.layer3.trainable = False
    return net


def float32_head(dtype):
    net = small(DavidNet, dtype, width=1)
    net.linear.dtype_policy = "float32"
    return net


def airbench(dtype):
    net = small(
        Airbench,
        dtype,
        widths=(2, 3, 4),
        residual=True,
        group_activation="silu",
    )
    net.adapt(data()[0])
    return net


def navier_stoked(dtype):
    net = small(NavierStoked, dtype, widths=(2, 3, 4), inner_widths=(3, 2, 5))
    net.adapt(data()[0])
    return net


def whitened_davidnet(dtype):
    net = small(WhitenedDavidNet, dtype, width=1, groups=2)
    net.adapt(data()[0])
    return net


NETS = {
    "davidnet": lambda dtype: small(DavidNet, dtype, width=1),
    "davidnet_frozen": frozen_net,
    "davidnet_thawed": thawed_head,
    "davidnet_float32_head": float32_head,
    "davidnet_softmax": lambda dtype: small(
        DavidNet, dtype, width=1, classifier_activation="softmax"
    ),
    "davidnet_odd": lambda dtype: small(
        DavidNet, dtype, width=1, augmentation=keras.layers.GaussianNoise(0.1)
    ),
    "subclass": lambda dtype: small(WithHead, dtype, width=1),
    "airbench": airbench,
    "navier_stoked": navier_stoked,
    "whitened_davidnet": whitened_davidnet,
}
PARTS = [*LAYERS, *NETS]


def compile_(model: keras.Model):
    # What a part computes is under test, not what the compiler makes of it.
    arguments = {"jit_compile": False, "run_eagerly": BACKEND != "jax"}
    optimizer = PyTorchSGD(0.01, momentum=0.9)
    if isinstance(model, ImageClassifier):
        model.compile(optimizer, **arguments)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, **arguments)


def make(name: str, dtype: str) -> keras.Model:
    """A compiled model of the part."""
    if name in NETS:
        model = NETS[name](dtype)
    else:
        x = images = keras.Input((16, 16, 3), dtype="uint8")
        layers = [keras.layers.Rescaling(1 / 255), *LAYERS[name](dtype)]
        layers += [keras.layers.Flatten(), keras.layers.Dense(3)]
        for layer in layers:
            x = layer(x)
        model = keras.Model(images, x, name=name)
    compile_(model)
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (8, 16, 16, 3), "uint8"), np.arange(8) % 3


def outputs(model: keras.Model) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(data()[0], training=False))


def description(model: keras.Model) -> list:
    """What is set on each layer, in the order of the layers."""
    # The first part of a path and some layers' names are numbered by Keras.
    return [
        [
            type(layer).__name__,
            layer.trainable,
            layer.dtype_policy.name,
            [
                re.sub(r"^conv_bn(_\d+)?", "", w.path.partition("/")[2])
                for w in layer.weights
            ],
        ]
        for layer in model._flatten_layers()
    ]


def state(model: keras.Model) -> dict:
    """Everything that a file must bring back."""
    variables = model.optimizer.variables if model.compiled else []
    return {
        "outputs": outputs(model),
        "description": json.dumps(description(model)),
        **{f"v{i}": v.numpy() for i, v in enumerate(variables)},
    }


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    for name in names:
        loaded = keras.saving.load_model(f"{folder}/{name}.keras")
        np.savez(f"{folder}/{name}.npz", **state(loaded))
