"""Weight initializers."""

import keras


@keras.saving.register_keras_serializable("keras_davidnet")
class PyTorchUniform(keras.initializers.VarianceScaling):
    """PyTorch's default initializer for `Conv2d` and `Linear` kernels.

    Draws from `U(-1/sqrt(fan_in), 1/sqrt(fan_in))`.  PyTorch calls it
    `kaiming_uniform_(a=sqrt(5))`, which is variance scaling with
    `scale=1/3` over the fan-in.

    As with every Keras initializer, one instance gives the same numbers each
    time it is called; the layers of this package therefore copy the one they
    are given.

    Args:
        seed: An integer or a `keras.random.SeedGenerator`; None for a seed of
            its own.
    """

    def __init__(self, seed: int | keras.random.SeedGenerator | None = None):
        super().__init__(
            scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed
        )

    def get_config(self) -> dict:
        return {"seed": super().get_config()["seed"]}


def clone_initializer(initializer, index: int = 0):
    """Copies an initializer, so that two kernels never share a draw.

    An unseeded initializer gets a seed of its own, a seeded one its seed plus
    `index`.  One that draws anew at each call (its seed is a `SeedGenerator`,
    or it is a plain function) is returned as it is.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    if isinstance(
        getattr(initializer, "seed", None), keras.random.SeedGenerator
    ):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += index
    return initializer.from_config(config)
