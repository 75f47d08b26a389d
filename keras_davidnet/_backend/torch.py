"""PyTorch: kernels that take images with the channels last as they are."""

# Pyright takes `torch` for this module.
# pyright: reportAttributeAccessIssue=false

import torch

__all__ = ["batch_normalization", "max_pool", "random_int16", "set_threads"]


def max_pool(images, size):
    # Keras copies the images to have the channels first, and what comes after
    # is then slow too; the kernel takes a view as well.
    pooled = torch.nn.functional.max_pool2d(images.permute(0, 3, 1, 2), size)
    return pooled.permute(0, 2, 3, 1)


def batch_normalization(images, gamma, beta, epsilon, statistics=None):
    training = statistics is None
    mean, variance = statistics or torch.zeros(
        (2, images.shape[-1]), device=images.device
    )
    outputs = torch.batch_norm(
        # A view, which the kernel knows as channels last.
        images.permute(0, 3, 1, 2),
        gamma,
        beta,
        mean,
        variance,
        training,
        1.0,  # momentum: what is returned is this batch's
        epsilon,
        True,  # cudnn_enabled
    )
    if training:
        # The kernel's variance is the unbiased one, 0 / 0 of a single value;
        # Keras keeps the biased.
        n = images.numel() // images.shape[-1]
        factor = (n - 1) / n
        variance = variance * factor if factor else torch.zeros_like(mean)
    return outputs.permute(0, 2, 3, 1), mean, variance


def random_int16(inputs, seed):
    """As many as there are inputs, uniform over all integers of 16 bits."""
    size = inputs.numel()
    bits = torch.empty((size + 3) // 4, dtype=torch.int64, device=inputs.device)
    if not bits.is_meta:
        first, second = seed.tolist()
        generator = torch.Generator(inputs.device)
        generator.manual_seed((first << 32) + second)
        bits.random_(-(2**63), None, generator=generator)
    return bits.view(torch.int16)[:size]


def set_threads(count: int) -> None:
    torch.set_num_threads(count)
