"""The recipe of Page's bag of tricks."""

from keras_davidnet.models import WhitenedDavidNet
from keras_davidnet.optimizers import bag_of_tricks_optimizer
from keras_davidnet.recipes.recipe import Recipe, Result

# David Page's `new_dawn.py` of 2019.
BAG_OF_TRICKS = Recipe(
    "bag_of_tricks",
    WhitenedDavidNet,
    bag_of_tricks_optimizer,
    batch_size=512,
    epochs=10,
    net_arguments={"views": "mirror"},
    published=Result(
        accuracy=0.941,
        # The source does not say.
        runs=None,
        seconds=26,
        hardware="one V100",
        source="https://github.com/davidcpage/cifar10-fast",
    ),
    measured=(
        Result(
            accuracy=0.9409,
            runs=3,
            one_view_accuracy=0.9379,
            std=0.001,
            seconds=1594,
            hardware="two cores of an Intel Xeon, bfloat16",
            source="docs/results/bag-of-tricks.md",
        ),
        Result(
            accuracy=0.9413,
            runs=2,
            one_view_accuracy=0.9378,
            std=0.0025,
            hardware="one H200, float32",
            source="docs/results/gpu-h200.md",
        ),
    ),
)
