"""Ways to train one and the same DavidNet.

Each is built for a case.  Its `data` makes what it takes of `(n, 32, 32, 3)`
uint8 images and their labels, whole batches of them; `run` trains on that once,
normalisation and augmentation included, and returns when the last step is done.
"""

import math
import warnings
from unittest import mock

import keras
import numpy as np
from benchmarking.report import PRODUCT

from keras_davidnet import DavidNet, PyTorchSGD, datasets, recipes

RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4


class Contestant:
    # Of an image's step, where it is counted.
    flop_per_image = None

    def __init__(self, case):
        self.batch = case.batch
        self.model = DavidNet(width=case.width, dtype=case.precision)

    def data(self, images, labels):
        return datasets.make_dataset(images, labels, self.batch, training=True)


class Fit(Contestant):
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


class FitAirbench(Contestant):
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


def convolutions_flop(model):
    """Of the forward pass of one image through each convolution.

    The frozen filters of a whitening are not counted.
    """
    flop = []
    call = keras.layers.Conv2D.call

    def counted(layer, inputs):
        outputs = call(layer, inputs)
        _, height, width, _ = outputs.shape
        flop.append(2 * height * width * math.prod(layer.kernel.shape))
        return outputs

    with mock.patch.object(keras.layers.Conv2D, "call", counted):
        model(np.zeros((1, *model.input_shape[1:]), "uint8"))
    return flop


class MatrixProduct(Contestant):
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


class Pipeline(Contestant):
    """No net: what `make_dataset` delivers."""

    def __init__(self, case):
        self.batch = case.batch

    def run(self, data):
        for _ in data.feed():
            pass


# The same net in a bare loop: one compiled step that computes the loss, its
# gradients, the update of PyTorchSGD, loss and accuracy.  Nothing of Keras but
# the layers.


class TensorFlowLoop(Contestant):
    def __init__(self, case):
        import tensorflow as tf

        super().__init__(case)
        self.model.compile()  # to know whether Keras would use XLA
        weights = [v.value for v in self.model.trainable_variables]
        velocities = [tf.Variable(tf.zeros_like(w)) for w in weights]

        @tf.function(jit_compile=self.model.jit_compile)
        def step(images, labels):
            with tf.GradientTape() as tape:
                logits = self.model(images, training=True)
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        labels, logits
                    )
                )
            gradients = tape.gradient(loss, weights)
            for w, v, g in zip(weights, velocities, gradients, strict=True):
                g += DECAY * w
                v.assign(MOMENTUM * v + g)
                w.assign_sub(RATE * (g + MOMENTUM * v))
            hits = tf.argmax(logits, 1, labels.dtype) == labels
            return loss, tf.reduce_mean(tf.cast(hits, "float32"))

        self.step = step

    def run(self, data):
        results = [self.step(*batch) for batch in data.feed()]
        np.mean(results, axis=0)


class JaxLoop(Contestant):
    def __init__(self, case):
        import jax
        import jax.numpy as jnp

        super().__init__(case)
        self.state = (
            [v.value for v in self.model.trainable_variables],
            [jnp.zeros(v.shape) for v in self.model.trainable_variables],
            [v.value for v in self.model.non_trainable_variables],
        )

        def loss_and_rest(weights, others, images, labels):
            logits, others = self.model.stateless_call(
                weights, others, images, training=True
            )
            rows = jnp.arange(len(labels))
            loss = -jax.nn.log_softmax(logits)[rows, labels].mean()
            hits = (logits.argmax(1) == labels).mean()
            return loss, (hits, others)

        def step(state, images, labels):
            weights, velocities, others = state
            (loss, (hits, others)), gradients = jax.value_and_grad(
                loss_and_rest, has_aux=True
            )(weights, others, images, labels)
            triples = zip(weights, velocities, gradients, strict=True)
            weights, velocities = [], []
            for w, v, g in triples:
                g = g + DECAY * w
                velocities.append(MOMENTUM * v + g)
                weights.append(w - RATE * (g + MOMENTUM * velocities[-1]))
            return (weights, velocities, others), (loss, hits)

        self.step = jax.jit(step, donate_argnums=0)

    def run(self, data):
        results = []
        for images, labels in data.feed():
            self.state, result = self.step(
                self.state, np.asarray(images), np.asarray(labels)
            )
            results.append(result)
        np.mean(results, axis=0)


class TorchLoop(Contestant):
    def __init__(self, case):
        import torch

        super().__init__(case)
        self.optimizer = torch.optim.SGD(
            [v.value for v in self.model.trainable_variables],
            lr=RATE,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=DECAY,
        )

    def run(self, data):
        import torch

        results = []
        for images, labels in data.feed():
            images, labels = (
                keras.ops.convert_to_tensor(np.asarray(x))
                for x in (images, labels)
            )
            labels = labels.long()
            logits = self.model(images, training=True)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            hits = (logits.argmax(1) == labels).float().mean()
            results.append(torch.stack([loss.detach(), hits]))
        torch.stack(results).mean(0).tolist()


def loop(case):
    loops = {
        "tensorflow": TensorFlowLoop,
        "jax": JaxLoop,
        "torch": TorchLoop,
    }
    return loops[case.backend](case)


class PyTorch(Contestant):
    """The net, the augmentation and the loop in plain PyTorch."""

    def __init__(self, case):
        import pytorch_davidnet
        import torch

        self.case, self.torch, self.plain = case, torch, pytorch_davidnet
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_default_device(self.device)
        self.net = pytorch_davidnet.DavidNet(case.width).to(
            memory_format=torch.channels_last
        )
        self.optimizer = pytorch_davidnet.make_optimizer(self.net)

    def data(self, images, labels):
        return self.torch.tensor(images), self.torch.tensor(labels).long()

    def run(self, data):
        images, labels = data
        with self.torch.autocast(
            self.device,
            self.torch.bfloat16,
            enabled=self.case.precision != "float32",
        ):
            self.plain.train_one_epoch(
                self.net,
                self.optimizer,
                images,
                labels,
                self.case.batch,
                [RATE] * (len(images) // self.case.batch),
            )


class CompiledPyTorch(PyTorch):
    """Its net by `torch.compile`; the augmentation was slower so, on CPU."""

    def __init__(self, case):
        super().__init__(case)
        self.net = self.torch.compile(self.net)


WAYS = {
    "fit": Fit,
    "fit, 16 steps at once": FitManySteps,
    "fit Airbench": FitAirbench,
    "fit without augmentation": FitWithoutAugmentation,
    "bare loop": loop,
    "pipeline alone": Pipeline,
    "matrix product": MatrixProduct,
    "PyTorch": PyTorch,
    "torch.compile": CompiledPyTorch,
}
