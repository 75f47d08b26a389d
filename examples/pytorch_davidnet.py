"""DavidNet in plain PyTorch: what the package is measured against.

Written from the recipe, with nothing of Keras in it.  The tests compare the
two nets number by number; `train_pytorch.py` trains this one.
"""

import torch
from torch import nn


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


def normalize(images, mean, std):
    """uint8 `(batch, height, width, channels)` to floats, channels first.

    In memory the channels stay last, which convolutions on CPU and GPU like.
    """
    x = (images.float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    return x.permute(0, 3, 1, 2)


def crop_and_flip(x, padding: int = 4):
    """Reflect-pads, crops at a random place and flips, image by image."""
    batch, channels, height, width = x.shape
    padded = nn.functional.pad(x, [padding] * 4, mode="reflect")
    padded = padded.permute(0, 2, 3, 1)
    top, left = torch.randint(0, 2 * padding + 1, (2, batch, 1))
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    flipped = torch.rand(batch, 1) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    image = torch.arange(batch)[:, None, None]
    cropped = padded[image, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)
