"""airbench96 in plain PyTorch, from the net's first weights to its accuracy.

Written from the recipe, with nothing of Keras in it; rates and decays are for
the mean loss.  `train_airbench96.py` trains it.
"""

import numpy as np
import torch
from plain.pytorch_airbench94 import Airbench
from plain.pytorch_davidnet import crop_and_flip, normalize
from torch import nn
from torch.nn import functional as F

BATCH, MOMENTUM = 1024, 0.85
WARMUP, FROZEN_AFTER = 0.1, 3
# The source's rate, as that of the loss summed over a batch, and its decay.
SCALE = 1024 * (1 + 1 / (1 - MOMENTUM))
RATE, DECAY = 9.0 / SCALE, 0.012 / SCALE


def make_net(images):
    """Whitening the images, with convolutions that begin as identities."""
    net = Airbench(
        (128, 384, 512), residual=True, momentum=0.9, logit_scale=1 / 9
    )
    patches = normalize(images).unfold(2, 2, 1).unfold(3, 2, 1)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernel = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    net.whiten.weight.data = torch.cat([kernel, -kernel])
    nn.init.zeros_(net.whiten.bias)
    for weight in net.convolutions():
        nn.init.dirac_(weight.data[: weight.shape[1]])
    net.linear.reset_parameters()
    return net.to(memory_format=torch.channels_last)


def make_optimizer(net):
    """With `rate` in each group, the highest of its own."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    biases = [norm.bias for norm in norms]
    others = [
        w
        for w in net.parameters()
        if w.requires_grad and all(w is not bias for bias in biases)
    ]
    return torch.optim.SGD(
        [
            {
                "params": weights,
                "rate": rate * BATCH,
                "weight_decay": DECAY / rate,
            }
            for weights, rate in ((others, RATE), (biases, 64 * RATE))
        ],
        momentum=MOMENTUM,
        nesterov=True,
    )


class Lookahead:
    """Every five steps the net goes back towards where it was."""

    def __init__(self, net):
        self.net = net
        self.slow = {k: v.clone() for k, v in net.state_dict().items()}

    def step(self, done):
        """`done`: the part of all steps that is made."""
        kept = 0.95**5 * done**3
        for name, fast in self.net.state_dict().items():
            if fast.is_floating_point():
                self.slow[name].lerp_(fast, 1 - kept)
                fast.copy_(self.slow[name])


def cutout(x, size=12):
    """Sets a square to 0, in each image at a random place within it."""
    batch, _, height, width = x.shape
    top, left = torch.randint(0, height - size + 1, (2, batch, 1))
    rows, columns = torch.arange(height), torch.arange(width)
    hidden_rows = (rows >= top) & (rows < top + size)
    hidden_columns = (columns >= left) & (columns < left + size)
    hidden = hidden_rows[:, :, None] & hidden_columns[:, None, :]
    return x.masked_fill(hidden[:, None], 0)


def train(net, images, labels, epochs):
    """Yields the mean loss and accuracy of each epoch."""
    optimizer, lookahead = make_optimizer(net), Lookahead(net)
    per_epoch = len(images) // BATCH
    steps = epochs * per_epoch
    factors = np.interp(
        np.arange(steps), [0, int(WARMUP * steps), steps], [0.2, 1, 0]
    )
    mirrored = torch.rand(len(images)) < 0.5
    for epoch in range(epochs):
        net.train()
        net.whiten.bias.requires_grad_(epoch < FROZEN_AFTER)
        order = torch.randperm(len(images))
        losses, hits = [], []
        for i, rows in enumerate(order.split(BATCH)[:per_epoch]):
            step = epoch * per_epoch + i
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * factors[step]
            x = normalize(images[rows])
            x = cutout(crop_and_flip(x, 4, mirrored[rows] ^ bool(epoch % 2)))
            with torch.autocast("cpu"):
                logits = net(x)
            loss = F.cross_entropy(
                logits.float(), labels[rows], label_smoothing=0.2
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % 5 == 0:
                with torch.no_grad():
                    lookahead.step((step + 1) / steps)
            losses.append(loss.item())
            hits.append((logits.argmax(1) == labels[rows]).float().mean())
        yield np.mean(losses).item(), torch.stack(hits).mean().item()
    net.load_state_dict(lookahead.slow)


@torch.no_grad()
def accuracy_by_views(net, images, labels):
    """Of the image, with its mirror image, and with both moved by a pixel."""
    net.eval()

    def logits(x):
        with torch.autocast("cpu"):
            return net(x).float()

    sums = {"plain": 0, "mirror": 0, "mirror_translate": 0}
    for part, expected in zip(
        images.split(500), labels.split(500), strict=True
    ):
        x = normalize(part)
        padded = F.pad(x, [1] * 4, mode="reflect")
        moved = padded[:, :, :-2, :-2], padded[:, :, 2:, 2:]
        plain = logits(x)
        both = (plain + logits(x.flip(3))) / 2
        others = sum(logits(view) + logits(view.flip(3)) for view in moved) / 4
        for name, mean in (
            ("plain", plain),
            ("mirror", both),
            ("mirror_translate", (both + others) / 2),
        ):
            sums[name] += (mean.argmax(1) == expected).sum().item()
    return {name: count / len(labels) for name, count in sums.items()}
