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
    measured=(
        Result(
            accuracy=0.9413,
            runs=8,
            plain_accuracy=0.9327,
            std=0.0018,
            seconds=1359,
            hardware="two cores of an AMD EPYC, mixed_bfloat16",
            source="docs/results/airbench94-muon.md",
        ),
    ),
)
