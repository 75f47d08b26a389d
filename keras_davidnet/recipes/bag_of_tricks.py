"""The recipe of Page's bag of tricks."""

from keras_davidnet.models import WhitenedDavidNet
from keras_davidnet.models.bag_of_tricks import bag_of_tricks_optimizer
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
        runs=50,
        seconds=26,
        hardware="one V100",
        source="https://github.com/davidcpage/cifar10-fast",
    ),
)
