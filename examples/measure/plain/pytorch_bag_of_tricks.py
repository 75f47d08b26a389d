"""Page's bag of tricks in plain PyTorch: what the package is compared with.

Written from the recipe's description, with nothing of Keras in it: the net,
the whitening, the training step and the schedule of `new_dawn.py`
(https://github.com/davidcpage/cifar10-fast).
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class GhostBatchNorm(nn.Module):
    """Of the parts `x[g::groups]`; moving statistics for each part.

    The moving variance is the biased one, as Keras's.
    """

    def __init__(self, channels, groups, momentum=0.9):
        super().__init__()
        self.groups, self.momentum = groups, momentum
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("means", torch.zeros(groups, channels))
        self.register_buffer("vars", torch.ones(groups, channels))

    def forward(self, x):
        if not self.training:
            mean, var = self.means.mean(0), self.vars.mean(0)
            return F.batch_norm(x, mean, var, None, self.bias, eps=1e-5)
        outputs = torch.empty_like(x)
        for group in range(self.groups):
            part = x[group :: self.groups]
            outputs[group :: self.groups] = F.batch_norm(
                part, None, None, None, self.bias, True, eps=1e-5
            )
            with torch.no_grad():
                new = 1 - self.momentum
                self.means[group].lerp_(part.mean((0, 2, 3)), new)
                variance = part.var((0, 2, 3), unbiased=False)
                self.vars[group].lerp_(variance, new)
        return outputs


class Block(nn.Module):
    """Convolution, pooling, normalization, CELU, and perhaps a branch."""

    def __init__(self, inputs, filters, groups, size=3, pool=2, residual=False):
        super().__init__()
        self.pool = pool
        self.conv1 = nn.Conv2d(
            inputs, filters, size, padding=size // 2, bias=False
        )
        self.bn1 = GhostBatchNorm(filters, groups)
        self.residual = residual
        if residual:
            self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
            self.bn2 = GhostBatchNorm(filters, groups)
            self.conv3 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
            self.bn3 = GhostBatchNorm(filters, groups)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), self.pool)
        x = F.celu(self.bn1(x), 0.3)
        if self.residual:
            y = F.celu(self.bn2(self.conv2(x)), 0.3)
            x = x + F.celu(self.bn3(self.conv3(y)), 0.3)
        return x


class Net(nn.Module):
    """From normalised images `(batch, 3, height, width)` to logits."""

    def __init__(self, width=64, groups=16):
        super().__init__()
        self.whiten = nn.Conv2d(3, 27, 3, padding=1, bias=False)
        self.whiten.weight.requires_grad_(False)
        w = width
        self.prep = Block(27, w, groups, size=1, pool=1)
        self.layer1 = Block(w, 2 * w, groups, residual=True)
        self.layer2 = Block(2 * w, 4 * w, groups)
        self.layer3 = Block(4 * w, 8 * w, groups, residual=True)
        self.linear = nn.Linear(8 * w, 10, bias=False)

    def forward(self, x):
        x = self.layer1(self.prep(self.whiten(x)))
        x = self.layer3(self.layer2(x)).amax((2, 3))
        return self.linear(x) / 16


def whitening_kernel(patches):
    """The 27 filters, one a row, from one patch a row."""
    values, vectors = np.linalg.eigh(patches.T @ patches / (len(patches) - 1))
    return (vectors / np.sqrt(values + 1e-2)).T


def rate(step, steps_per_epoch, epochs=10):
    """At step 1, 2, ...; the source counts from 1."""
    return np.interp(step / steps_per_epoch, [0, 2, epochs - 2], [0, 1.0, 0.1])


def nesterov_update(w, v, g, lr, decay, momentum=0.9):
    """The source's: the velocity has the rate in it."""
    g = g + decay * w
    v.mul_(momentum).sub_(lr * g)
    w.add_(momentum * v - lr * g)


def train(net, batches, steps_per_epoch, epochs=10):
    """One step for each batch of images and labels; the loss is summed.

    The net is then the average over the steps, moving statistics included.
    """
    net.train()
    average = {k: v.detach().clone() for k, v in net.state_dict().items()}
    trained = [p for p in net.parameters() if p.requires_grad]
    velocities = [torch.zeros_like(p) for p in trained]
    for step, (x, y) in enumerate(batches, 1):
        net.zero_grad()
        F.cross_entropy(
            net(x), y, label_smoothing=0.2, reduction="sum"
        ).backward()
        batch = len(x)
        lr = rate(step, steps_per_epoch, epochs) / batch
        with torch.no_grad():
            for w, v in zip(trained, velocities, strict=True):
                # Biases are the only vectors.
                factor = 64 if w.ndim == 1 else 1
                decay = 5e-4 * batch / factor
                nesterov_update(w, v, w.grad, lr * factor, decay)
        if step % 5 == 1:
            for name, value in net.state_dict().items():
                average[name].lerp_(value, 1 - 0.99**5)
    net.load_state_dict(average)
