"""DavidNet in plain PyTorch: what the package is measured against.

Written from the recipe, with nothing of Keras in it.  The tests compare the
two nets number by number, `train_pytorch.py` trains this one, and
`benchmark.py` times it.
"""

import torch
from torch import nn

# Of CIFAR-10's training set, for images in 0..1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


class ConvBN(nn.Sequential):
    def __init__(self, inputs: int, filters: int, dropout: float):
        super().__init__(
            nn.Conv2d(inputs, filters, 3, padding=1, bias=False),
            nn.Dropout(dropout),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
        )


class ResBlock(nn.Module):
    def __init__(
        self, inputs: int, filters: int, residual: bool, dropout: float
    ):
        super().__init__()
        self.conv = ConvBN(inputs, filters, dropout)
        self.pool = nn.MaxPool2d(2)
        self.branch = None
        if residual:
            self.branch = nn.Sequential(
                ConvBN(filters, filters, dropout),
                ConvBN(filters, filters, dropout),
            )

    def forward(self, x):
        x = self.pool(self.conv(x))
        return x if self.branch is None else x + self.branch(x)


class DavidNet(nn.Module):
    """From normalised images `(batch, 3, height, width)` to logits."""

    def __init__(self, width: int = 64, dropout: float = 0.05):
        super().__init__()
        self.blocks = nn.Sequential(
            ConvBN(3, width, dropout),
            ResBlock(width, 2 * width, True, dropout),
            ResBlock(2 * width, 4 * width, False, dropout),
            ResBlock(4 * width, 8 * width, True, dropout),
        )
        self.linear = nn.Linear(8 * width, 10, bias=False)

    def forward(self, x):
        return 0.125 * self.linear(self.blocks(x).amax((2, 3)))


def normalize(images):
    """uint8 `(batch, height, width, channels)` to floats, channels first.

    In memory the channels stay last, which convolutions on CPU and GPU like.
    """
    x = (images.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return x.permute(0, 3, 1, 2)


def crop_and_flip(x, padding: int = 4, flipped=None):
    """Reflect-pads, crops at a random place and flips, image by image.

    `flipped` says which are flipped; without it, each is with probability 1/2.
    """
    batch, channels, height, width = x.shape
    padded = nn.functional.pad(x, [padding] * 4, mode="reflect")
    padded = padded.permute(0, 2, 3, 1)
    top, left = torch.randint(0, 2 * padding + 1, (2, batch, 1))
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if flipped is None:
        flipped = torch.rand(batch) < 0.5
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    image = torch.arange(batch)[:, None, None]
    cropped = padded[image, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def make_optimizer(model):
    return torch.optim.SGD(
        model.parameters(),
        lr=0.0,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
    )


def train_one_epoch(model, optimizer, images, labels, batch_size, rates):
    """One step for each of the rates; returns the means of loss and accuracy.

    The images are uint8, `(n, height, width, channels)`.
    """
    model.train()
    order = torch.randperm(len(images))
    losses, hits = [], []
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        batch = order[step * batch_size : (step + 1) * batch_size]
        logits = model(crop_and_flip(normalize(images[batch])))
        loss = nn.functional.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        hits.append((logits.argmax(1) == labels[batch]).float().mean())
    return torch.stack(losses).mean().item(), torch.stack(hits).mean().item()
