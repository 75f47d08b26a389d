"""Weight initializers."""

import copy

import keras
import numpy as np
from keras import ops

from keras_davidnet._checks import to_python


@keras.saving.register_keras_serializable("keras_davidnet")
class PyTorchUniform(keras.initializers.VarianceScaling):
    """PyTorch's default initializer for `Conv2d` and `Linear` kernels.

    Draws from `U(-1/sqrt(fan_in), 1/sqrt(fan_in))`, PyTorch's
    `kaiming_uniform_(a=sqrt(5))`.

    Args:
        seed: An integer or a `keras.random.SeedGenerator`; None for a random
            seed.
    """

    def __init__(self, seed: int | keras.random.SeedGenerator | None = None):
        super().__init__(
            scale=1 / 3,
            mode="fan_in",
            distribution="uniform",
            seed=to_python(seed),
        )

    def get_config(self) -> dict:
        return {"seed": super().get_config()["seed"]}


@keras.saving.register_keras_serializable("keras_davidnet")
class Dirac(PyTorchUniform):
    """Makes a convolution pass its input channels on, as far as it can.

    The first `min(in, out)` filters are the identity, zero but for a one at
    the kernel's center, filter `i` on channel `i`, as `torch.nn.init.dirac_`
    sets them.  The others are drawn as by `PyTorchUniform`.  airbench (Jordan,
    2024, [arXiv:2404.00498](https://arxiv.org/abs/2404.00498)) starts all its
    3x3 convolutions so.

    For kernels of shape `(*spatial, in, out)`, of at least one spatial
    dimension.

    Args:
        seed: As for `PyTorchUniform`.

    Raises:
        ValueError: When called, if the shape is not a convolution kernel's.

    Example:

    ```python
    keras.layers.Conv2D(64, 3, kernel_initializer=Dirac())
    ```
    """

    def __call__(self, shape, dtype=None, **kwargs):
        if len(shape) < 3:
            raise ValueError(
                "Dirac takes the shape of a convolution kernel, (*spatial, in, "
                f"out). Received: shape={tuple(shape)}"
            )
        drawn = super().__call__(shape, dtype=dtype, **kwargs)
        *spatial, channels, filters = shape
        identity = np.zeros(shape)
        identity[tuple(size // 2 for size in spatial)] = np.eye(
            channels, filters
        )
        return ops.where(
            np.arange(filters) < min(channels, filters),
            ops.cast(identity, drawn.dtype),
            drawn,
        )


def clone_initializer(initializer, index: int = 0):
    """Copies an initializer, so that two kernels never share a draw.

    An unseeded initializer gets a new seed, a seeded one its seed plus
    `index`.  One that draws anew at each call (its seed is a `SeedGenerator`,
    or it is a plain function) or has no config is returned as it is.
    """
    if (
        not isinstance(initializer, keras.initializers.Initializer)
        or isinstance(
            getattr(initializer, "seed", None), keras.random.SeedGenerator
        )
        or type(initializer).get_config
        is keras.initializers.Initializer.get_config
    ):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += index
    try:
        return initializer.from_config(config)
    except TypeError:  # A subclass with arguments of its own.
        clone = copy.copy(initializer)
        if "seed" in config:
            clone.seed = config["seed"]
        return clone
