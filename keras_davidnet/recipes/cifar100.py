"""The recipe of CIFAR-100's speedrun."""

from keras_davidnet.models import NavierStoked
from keras_davidnet.optimizers import navier_stoked_optimizer
from keras_davidnet.recipes.recipe import Recipe, Result

# Without views, which its contest does not allow.
CIFAR100_75 = Recipe(
    "cifar100_75",
    NavierStoked,
    navier_stoked_optimizer,
    batch_size=1024,
    epochs=8.75,
    net_arguments={"num_classes": 100, "dtype": "mixed_bfloat16"},
    alternating_flip=True,
    image_sizes={0: 20, 0.15: 24, 0.5: 32},
    published=Result(
        accuracy=0.7519,
        runs=40,
        std=0.0026,
        seconds=3.5,
        hardware="one A100",
        source="https://github.com/AIDDA-Institute/CIFAR-100-speedrun/"
        "tree/main/submissions/NAVIER-STOKED",
        dataset="CIFAR-100",
    ),
    measured=(
        Result(
            accuracy=0.7506,
            runs=6,
            one_view_accuracy=0.7506,
            std=0.0028,
            seconds=759,
            hardware="two cores of an AMD EPYC, bfloat16",
            source="docs/results/cifar100-75.md",
            dataset="CIFAR-100",
        ),
    ),
)
