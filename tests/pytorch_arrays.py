"""Kernels as PyTorch lays them out, and as Keras does."""

import numpy as np


def filters_first(kernel):
    """`(out, in, *spatial)`, PyTorch's, from Keras's `(*spatial, in, out)`."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def filters_last(kernel):
    """`(*spatial, in, out)`, Keras's, from PyTorch's `(out, in, *spatial)`."""
    return np.moveaxis(kernel, (0, 1), (-1, -2))
