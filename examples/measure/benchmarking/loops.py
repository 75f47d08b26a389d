"""The same net in a bare loop, of nothing of Keras but the layers.

One compiled step computes the loss, its gradients, the update of PyTorchSGD,
loss and accuracy.
"""

import keras
import numpy as np
from benchmarking.trainers import DECAY, MOMENTUM, RATE, Trainer


class TensorFlowLoop(Trainer):
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
        results = [self.step(*batch) for batch in data.tf_dataset()]
        np.mean(results, axis=0)


class JaxLoop(Trainer):
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
        for images, labels in data:
            self.state, result = self.step(
                self.state, np.asarray(images), np.asarray(labels)
            )
            results.append(result)
        np.mean(results, axis=0)


class TorchLoop(Trainer):
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
        for images, labels in data:
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
