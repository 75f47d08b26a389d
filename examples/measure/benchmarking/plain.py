"""The same net without Keras."""

import functools

from benchmarking.loops import JaxLoop
from benchmarking.trainers import RATE, Trainer


class PlainJax(JaxLoop):
    """The net, the augmentation and the step in plain JAX."""

    def __init__(self, case):
        import jax
        import jax.numpy as jnp
        from plain import jax_davidnet

        self.batch = case.batch
        self.step = functools.partial(jax_davidnet.train_step, rate=RATE)
        weights, statistics = jax_davidnet.initialize(
            jax.random.key(0), case.width
        )
        velocities = [jnp.zeros_like(w) for w in weights]
        self.state = weights, velocities, statistics, jax.random.key(1)


class PyTorch(Trainer):
    """The net, the augmentation and the loop in plain PyTorch."""

    def __init__(self, case):
        import torch
        from plain import pytorch_davidnet

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


class PredictPyTorch(PyTorch):
    def run(self, data):
        self.net.eval()
        with self.torch.inference_mode():
            for images in data[0].split(self.case.batch):
                self.net(self.plain.normalize(images))
