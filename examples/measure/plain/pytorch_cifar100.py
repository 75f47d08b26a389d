"""NAVIER-STOKED in plain PyTorch: what `cifar100_75` is compared with.

Written from the recipe, with nothing of Keras in it, on one device and in one
precision.  `whiten` comes first, with the first 5,000 images; then `train`.
"""

import math

import torch
from plain.pytorch_airbench94 import Muon
from plain.pytorch_davidnet import crop_and_flip
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
BATCH, EPOCHS = 1024, 8.75
# Sizes of the kernels of each group.
KERNELS = (3, 1, 1), (3, 3, 1), (2, 3, 3)
# Until this part of the steps the images have so many pixels.
SIZES = {0.15: 20, 0.5: 24}


class Conv(nn.Conv2d):
    """Keeps height and width; a kernel of 2 pixels reaches down and right."""

    def __init__(self, inputs, filters, size):
        super().__init__(inputs, filters, size, bias=False)
        before = (size - 1) // 2
        self.border = (before, size - 1 - before) * 2

    def forward(self, x):
        return super().forward(F.pad(x, self.border))


class Group(nn.Module):
    """A pooled convolution, and two more whose result is added."""

    def __init__(self, inputs, inner, filters, sizes, norm):
        super().__init__()
        self.conv1 = Conv(inputs, filters, sizes[0])
        self.bn1 = norm(filters)
        self.conv2 = Conv(filters, inner, sizes[1])
        self.bn2 = norm(inner)
        self.conv3 = Conv(inner, filters, sizes[2])
        self.bn3 = norm(filters)

    def forward(self, x):
        x = F.silu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        h = F.silu(self.bn2(self.conv2(x)))
        return x + F.silu(self.bn3(self.conv3(h)))


class Net(nn.Module):
    """From normalized images `(batch, channels, height, width)` to logits."""

    def __init__(
        self,
        widths=(64, 256, 768),
        inner_widths=(64, 192, 512),
        num_classes=100,
        norm=nn.BatchNorm2d,
    ):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad_(False)
        inputs = (24, *widths)
        self.group1, self.group2, self.group3 = (
            Group(inputs[i], inner_widths[i], widths[i], KERNELS[i], norm)
            for i in range(3)
        )
        self.linear = nn.Linear(widths[-1], num_classes, bias=False)
        nn.init.zeros_(self.whiten.bias)
        for weight in self.convolutions():
            nn.init.dirac_(weight.data[: weight.shape[1]])

    def forward(self, x):
        x = self.group3(self.group2(self.group1(F.silu(self.whiten(x)))))
        x = x.flatten(2)
        return 1.25 / 9 * self.linear(x.max(2).values + x.mean(2))

    def convolutions(self):
        """The kernels that Muon trains."""
        return [w for w in self.parameters() if w.ndim == 4 and w.requires_grad]


def normalize(images):
    """Raw images to floats, channels first."""
    x = (images.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return x.permute(0, 3, 1, 2)


def whiten(net, images):
    """Sets the first filters by the patches of normalized images."""
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 12).double()
    patches = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernel = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    net.whiten.weight.data.copy_(torch.cat([kernel, -kernel]))


def make_optimizers(net):
    """SGD and Muon, with the highest rate of each group as `peak`."""
    rest = [w for w in net.parameters() if w.ndim == 1]
    sgd = torch.optim.SGD(
        [
            {"params": [net.linear.weight], "weight_decay": 5e-4},
            {"params": rest},
        ],
        lr=1.38,
        momentum=0.9,
        nesterov=True,
    )
    optimizers = sgd, Muon(net.convolutions(), lr=0.18)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def train_step(net, optimizers, x, labels, factor):
    """One step on normalized images; its loss and accuracy."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["peak"]
    logits = net(x)
    loss = F.cross_entropy(logits, labels, label_smoothing=0.25)
    net.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.item(), (logits.argmax(1) == labels).double().mean().item()


def factor_at(step, steps, warmup=0.25):
    """The rates at a step, over their peaks."""
    return min(step / (warmup * steps), (1 - step / steps) / (1 - warmup))


def scaled(x, done):
    """The images as they are trained on after this part of the steps."""
    for end, size in SIZES.items():
        if done < end:
            return F.interpolate(
                x, (size, size), mode="bilinear", antialias=True
            )
    return x


def train(net, images, labels, epochs=EPOCHS):
    """Yields the loss and accuracy of each step, the net being whitened."""
    net.train()
    optimizers = make_optimizers(net)
    per_epoch = len(images) // BATCH
    steps = round(epochs * per_epoch)
    mirrored = torch.rand(len(images)) < 0.5
    for epoch in range(math.ceil(epochs)):
        order = torch.randperm(len(images))
        for i, rows in enumerate(order.split(BATCH)[:per_epoch]):
            step = epoch * per_epoch + i
            if step == steps:
                return
            x = normalize(images[rows])
            x = crop_and_flip(x, 2, mirrored[rows] ^ bool(epoch % 2))
            x = scaled(x, step / steps)
            factor = factor_at(step, steps)
            yield train_step(net, optimizers, x, labels[rows], factor)


@torch.no_grad()
def accuracy(net, images, labels):
    """Of the images alone."""
    net.eval()
    hits = [
        net(normalize(part)).argmax(1) == expected
        for part, expected in zip(
            images.split(500), labels.split(500), strict=True
        )
    ]
    return torch.cat(hits).double().mean().item()
