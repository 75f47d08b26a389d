"""The recipes of airbench."""

from keras_davidnet.initializers import PyTorchUniform
from keras_davidnet.models import Airbench
from keras_davidnet.optimizers import (
    airbench_optimizer,
    airbench_sgd_optimizer,
)
from keras_davidnet.recipes.recipe import Recipe, Result

SOURCE = "https://github.com/KellerJordan/cifar10-airbench"

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
        source=SOURCE,
    ),
    measured=(
        Result(
            accuracy=0.9413,
            runs=8,
            one_view_accuracy=0.9327,
            std=0.0018,
            seconds=1359,
            hardware="two cores of an AMD EPYC, float32",
            source="docs/results/airbench94-muon.md",
        ),
        Result(
            accuracy=0.9398,
            runs=5,
            one_view_accuracy=0.9317,
            std=0.0012,
            seconds=20,
            hardware="one H200, float32",
            source="docs/results/gpu-h200.md",
        ),
    ),
)

# This package's own, for CPUs that compute in bfloat16.  Where its numbers
# differ from airbench94_muon's, they are from
# https://github.com/hiverge/cifar10-speedrun; to begin with 28 pixels is from
# https://github.com/fulcrumresearch/cifar-10-speedrun.  The numbers of epochs
# are explained in docs/results/cpu94.md.
CPU94 = AIRBENCH94_MUON.replace(
    name="cpu94",
    dtype="mixed_bfloat16",
    batch_size=1536,
    epochs=9,
    image_sizes={0: 28, 2 / 3: 32},
    group_activation="silu",
    momentum=0.5566,
    label_smoothing=0.09,
    filters_learning_rate=0.205,
    filters_momentum=0.655,
    bias_learning_rate=0.0573,
    head_learning_rate=0.5415,
    sgd_momentum=0.825,
    weight_decay=1.0418e-6,
    whitening_epochs=0.2,
    published=None,
    measured=(
        Result(
            accuracy=0.9416,
            runs=8,
            one_view_accuracy=0.9330,
            std=0.0011,
            seconds=810,
            hardware="two cores of an AMD EPYC, bfloat16",
            source="docs/results/cpu94.md",
        ),
    ),
)

# Arguments of the net of the three recipes without Muon.
_NET = {
    "logit_scale": 1 / 9,
    "whitening_bias_initializer": "zeros",
    "head_initializer": PyTorchUniform,
    "views": "mirror_translate",
}

AIRBENCH94 = Recipe(
    "airbench94",
    Airbench,
    airbench_sgd_optimizer,
    batch_size=1024,
    epochs=9.9,
    net_arguments=_NET,
    alternating_flip=True,
    published=Result(
        accuracy=0.9401,
        runs=1000,
        seconds=3.83,
        hardware="one A100",
        source=SOURCE,
    ),
    measured=(
        Result(
            accuracy=0.9404,
            runs=8,
            one_view_accuracy=0.9328,
            std=0.0013,
            seconds=1022,
            hardware="two cores of an AMD EPYC, bfloat16",
            source="docs/results/airbench94.md",
        ),
        Result(
            accuracy=0.9397,
            runs=4,
            one_view_accuracy=0.933,
            std=0.0013,
            hardware="one H200, float32",
            source="docs/results/gpu-h200.md",
        ),
    ),
)

AIRBENCH95 = Recipe(
    "airbench95",
    Airbench,
    airbench_sgd_optimizer,
    batch_size=1024,
    epochs=15,
    net_arguments={**_NET, "widths": (128, 384, 384)},
    optimizer_arguments={"learning_rate": 10.0},
    alternating_flip=True,
    published=Result(
        accuracy=0.9501,
        runs=200,
        seconds=10.4,
        hardware="one A100",
        source=SOURCE,
    ),
    measured=(
        Result(
            accuracy=0.9506,
            runs=2,
            one_view_accuracy=0.9447,
            std=0.0005,
            seconds=3920,
            hardware="two cores of an AMD EPYC, bfloat16",
            source="docs/results/airbench95.md",
        ),
    ),
)

AIRBENCH96 = Recipe(
    "airbench96",
    Airbench,
    airbench_sgd_optimizer,
    batch_size=1024,
    epochs=37,
    net_arguments={
        **_NET,
        "widths": (128, 384, 512),
        "residual": True,
        "momentum": 0.9,
        "augmentation": "crop4_cutout12",
    },
    optimizer_arguments={
        "learning_rate": 9.0,
        "weight_decay": 0.012,
        "warmup": 0.1,
        "final": 0.0,
    },
    alternating_flip=True,
    published=Result(
        accuracy=0.9603,
        runs=400,
        seconds=34.7,
        hardware="one A100",
        source=SOURCE,
    ),
)
