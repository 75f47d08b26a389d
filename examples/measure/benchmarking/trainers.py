"""Trainers of one and the same DavidNet.

Each is built for a case.  Its `data` makes what it takes of `(n, 32, 32, 3)`
uint8 images and their labels, whole batches of them; `run` trains on that once,
normalisation and augmentation included, or predicts, and returns when the last
step is done.
"""

import math
import tempfile
import warnings
from unittest import mock

import keras
import numpy as np
from benchmarking.report import PRODUCT

from keras_davidnet import DavidNet, PyTorchSGD, datasets, recipes
from keras_davidnet.layers.fast_layers import FastConv2D

RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4


class Trainer:
    # Of an image's step, where it is counted.
    flop_per_image = None

    def __init__(self, case):
        self.batch = case.batch
        self.model = DavidNet(width=case.width, dtype=case.precision)

    def data(self, images, labels):
        return datasets.make_dataset(images, labels, self.batch, training=True)


class Fit(Trainer):
    """What a user of the package calls, with its metrics and progress bar."""

    def __init__(self, case):
        super().__init__(case)
        self.compile()
        first, *others = convolutions_flop(self.model)
        # Nothing needs the gradient of the images.
        self.flop_per_image = 2 * first + 3 * sum(others)

    def compile(self, **arguments):
        # The rate of a default compile() follows the length of each `fit`,
        # which is traced anew for it.
        self.model.compile(
            PyTorchSGD(
                RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY
            ),
            **arguments,
        )

    def run(self, data):
        self.model.fit(data)


class FitManySteps(Fit):
    def compile(self):
        super().compile(steps_per_execution=16)


class FitAirbench(Trainer):
    """The net, optimizer and batches of the recipe."""

    def __init__(self, case):
        recipe = recipes.get("airbench94_muon")
        self.batch = case.batch
        self.model = recipe.replace(views=None).model()
        noise = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3))
        self.model.adapt(noise.astype("uint8"))
        # Of so many epochs that the rate is still high.
        self.model.compile(recipe.replace(epochs=1000).optimizer(25))
        self.flop_per_image = 3 * sum(convolutions_flop(self.model))

    def run(self, data):
        with warnings.catch_warnings():
            # So it is.
            warnings.filterwarnings("ignore", message="The learning rate's")
            self.model.fit(data)


class FitWithoutAugmentation(Fit):
    def __init__(self, case):
        super().__init__(case)
        self.model = DavidNet(
            width=case.width, dtype=case.precision, augmentation=None
        )
        self.compile()


class Predict(Trainer):
    """Not training: the net's logits."""

    def data(self, images, labels):
        return images

    def run(self, data):
        self.model.predict(data, self.batch, verbose=0)


class OnnxRuntime(Predict):
    """The exported net."""

    def __init__(self, case):
        import onnxruntime

        super().__init__(case)
        with tempfile.TemporaryDirectory() as folder:
            self.model.export(f"{folder}/net.onnx", "onnx", verbose=False)
            self.session = onnxruntime.InferenceSession(f"{folder}/net.onnx")

    def run(self, data):
        for i in range(0, len(data), self.batch):
            self.session.run(None, {"images": data[i : i + self.batch]})


def convolutions_flop(model):
    """Of the forward pass of one image through each convolution.

    The frozen filters of a whitening are not counted.
    """
    flop = []
    call = FastConv2D.call

    def counted(layer, inputs, training=False):
        outputs = call(layer, inputs, training)
        _, height, width, _ = outputs.shape
        flop.append(2 * height * width * math.prod(layer.kernel.shape))
        return outputs

    with mock.patch.object(FastConv2D, "call", counted):
        model(np.zeros((1, *model.input_shape[1:]), "uint8"))
    return flop


class MatrixProduct(Trainer):
    """The scale: what the processor can do."""

    def __init__(self, case):
        import tensorflow as tf

        self.batch = case.batch
        dtype = "float32" if case.precision == "float32" else "bfloat16"
        matrix = tf.random.normal((PRODUCT, PRODUCT))
        self.matrix = tf.cast(matrix, dtype)

    def data(self, images, labels):
        return range(len(labels))

    def run(self, data):
        import tensorflow as tf

        for _ in data:
            product = tf.matmul(self.matrix, self.matrix)
        product.numpy()


class Pipeline(Trainer):
    """No net: what `make_dataset` delivers."""

    def __init__(self, case):
        self.batch = case.batch

    def run(self, data):
        # What `fit` draws from.
        if keras.backend.backend() == "tensorflow":
            data = data.tf_dataset()
        for _ in data:
            pass
