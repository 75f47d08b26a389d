"""The recipes of DavidNet."""

from keras_davidnet.models import DavidNet
from keras_davidnet.optimizers import davidnet_optimizer
from keras_davidnet.recipes.recipe import Recipe, Result

# David Page's entry for DAWNBench, `dawn.py` of 2018: cutout, no dropout.
DAVIDNET = Recipe(
    "davidnet",
    DavidNet,
    davidnet_optimizer,
    batch_size=512,
    epochs=24,
    net_arguments={"augmentation": "crop_flip_cutout", "dropout": 0.0},
    published=Result(
        # The median of the runs.
        accuracy=0.9408,
        runs=50,
        seconds=79,
        hardware="one V100",
        source="https://github.com/davidcpage/cifar10-fast",
    ),
    measured=(
        Result(
            accuracy=0.9414,
            runs=5,
            std=0.001,
            seconds=26,
            hardware="one H200, float32",
            source="docs/results/gpu-h200.md",
        ),
        Result(
            accuracy=0.9406,
            runs=1,
            seconds=8549,
            hardware="two cores of an AMD EPYC, bfloat16",
            source="docs/results/davidnet.md",
        ),
    ),
)

# The TensorFlow walkthrough's: DavidNet's defaults, dropout and no cutout.
DAVIDNET_TF = Recipe(
    "davidnet_tf",
    DavidNet,
    davidnet_optimizer,
    batch_size=512,
    epochs=24,
    measured=(
        Result(
            accuracy=0.9386,
            runs=1,
            hardware="one H200, float32",
            source="docs/results/gpu-h200.md",
        ),
        Result(
            accuracy=0.9383,
            runs=1,
            seconds=9189,
            hardware="two cores of an AMD EPYC, bfloat16",
            source="docs/results/davidnet.md",
        ),
    ),
)
