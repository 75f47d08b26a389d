"""The recipes of airbench."""

from keras_davidnet.models import Airbench
from keras_davidnet.models.airbench import airbench_optimizer
from keras_davidnet.recipes.recipe import Recipe, Result

AIRBENCH94_MUON = Recipe(
    "airbench94_muon",
    Airbench,
    airbench_optimizer,
    batch_size=2000,
    epochs=8,
    net_arguments={"views": "mirror_translate"},
    alternating_flip=True,
    published=Result(
        accuracy=0.9401,
        runs=200,
        seconds=2.59,
        hardware="one A100",
        source="https://github.com/KellerJordan/cifar10-airbench",
    ),
)
