"""airbench94_muon in plain PyTorch: what the package is measured against.

Written from the recipe, with nothing of Keras in it.  The tests compare the
nets number by number, and `airbench_step.py` times the steps.
"""

import functools

import torch
from plain.pytorch_davidnet import crop_and_flip, normalize
from torch import nn
from torch.nn import functional as F


def batch_norm(channels, momentum):
    """PyTorch's own, whose scale is not trained."""
    # PyTorch's momentum is what is new.
    layer = nn.BatchNorm2d(channels, eps=1e-12, momentum=1 - momentum)
    layer.weight.requires_grad_(False)
    return layer


class Group(nn.Module):
    """Convolution, pooling, convolution; airbench96 has a third."""

    def __init__(self, inputs, filters, residual, norm, activation):
        super().__init__()
        self.activation = getattr(F, activation)

        def conv(channels):
            return nn.Conv2d(channels, filters, 3, padding=1, bias=False)

        self.conv1 = conv(inputs)
        self.bn1 = norm(filters)
        self.conv2 = conv(filters)
        self.bn2 = norm(filters)
        self.residual = residual
        if residual:
            self.conv3 = conv(filters)
            self.bn3 = norm(filters)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 2)
        x = pooled = self.activation(self.bn1(x))
        x = self.activation(self.bn2(self.conv2(x)))
        if self.residual:
            x = self.activation(self.bn3(self.conv3(x)) + pooled)
        return x


class Airbench(nn.Module):
    """From normalised images `(batch, channels, height, width)` to logits.

    The defaults are airbench94_muon's.
    """

    def __init__(
        self,
        widths=(64, 256, 256),
        channels=3,
        whitening_size=2,
        residual=False,
        group_activation="gelu",
        momentum=0.6,
        logit_scale=1 / 256,
        norm=batch_norm,
    ):
        super().__init__()
        norm = functools.partial(norm, momentum=momentum)
        filters = 2 * channels * whitening_size**2
        self.whiten = nn.Conv2d(channels, filters, whitening_size)
        self.whiten.weight.requires_grad_(False)
        inputs = (filters, *widths)
        self.group1, self.group2, self.group3 = (
            Group(inputs[i], widths[i], residual, norm, group_activation)
            for i in range(3)
        )
        self.linear = nn.Linear(widths[-1], 10, bias=False)
        self.linear.weight.data /= self.linear.weight.data.std()
        self.logit_scale = logit_scale

    def forward(self, x):
        x = F.gelu(self.whiten(x))
        x = self.group3(self.group2(self.group1(x)))
        return self.logit_scale * self.linear(x.amax((2, 3)))

    def convolutions(self):
        """The kernels that Muon trains."""
        return [w for w in self.parameters() if w.ndim == 4 and w.requires_grad]


def newton_schulz(x, steps, coefficients=(3.4445, -4.7750, 2.0315)):
    """Of a tensor or an array."""
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Steps of nearly orthogonal matrices, as airbench94_muon has them."""

    def __init__(self, kernels, lr=0.24, momentum=0.6, steps=3):
        super().__init__(kernels, {"lr": lr})
        self.momentum, self.steps = momentum, steps

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                v = self.state[w].setdefault("v", torch.zeros_like(w))
                v.mul_(self.momentum).add_(w.grad)
                x = w.grad.add(v, alpha=self.momentum).flatten(1)
                x = newton_schulz(x / (x.norm() + 1e-7), self.steps)
                w.mul_(len(w) ** 0.5 / w.norm())
                w.add_(x.view_as(w), alpha=-group["lr"])


def make_optimizers(net, batch_size):
    """Muon, and SGD with the recipe's first rates, for the mean loss."""
    biases = [w for w in net.parameters() if w.ndim == 1 and w.requires_grad]
    sgd = torch.optim.SGD(
        [
            {
                "params": weights,
                "lr": rate * batch_size,
                "weight_decay": 2e-6 / rate,
            }
            for weights, rate in (
                (biases, 0.053),
                ([net.linear.weight], 0.67),
            )
        ],
        momentum=0.85,
        nesterov=True,
    )
    return sgd, Muon(net.convolutions())


def train_step(net, optimizers, images, labels):
    """One step on uint8 images `(batch, height, width, channels)`."""
    net.train()
    logits = net(crop_and_flip(normalize(images), 2))
    loss = F.cross_entropy(logits, labels, label_smoothing=0.2)
    net.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.item(), (logits.argmax(1) == labels).float().mean().item()
