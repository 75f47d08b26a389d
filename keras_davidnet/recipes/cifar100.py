"""The recipe of CIFAR-100's speedrun."""

from keras_davidnet.models import NavierStoked
from keras_davidnet.optimizers import navier_stoked_optimizer
from keras_davidnet.recipes.recipe import Recipe

# One view, as the contest's gate of 75% counts.
CIFAR100_75 = Recipe(
    "cifar100_75",
    NavierStoked,
    navier_stoked_optimizer,
    batch_size=1024,
    epochs=8.75,
    net_arguments={"num_classes": 100, "dtype": "mixed_bfloat16"},
    alternating_flip=True,
    image_sizes={0: 20, 0.15: 24, 0.5: 32},
)
