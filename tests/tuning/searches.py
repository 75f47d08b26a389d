"""Small searches with KerasTuner; a module that imports it needs that."""

import pytest

keras_tuner = pytest.importorskip("keras_tuner", reason="the extra `tuner`")
from keras_davidnet.tuning import DavidNetHyperModel  # noqa: E402

# KerasTuner 1.4.8 calls both.
MARKS = [
    pytest.mark.extra,
    pytest.mark.filterwarnings(
        "ignore:currentThread:DeprecationWarning",
        "ignore:getName:DeprecationWarning",
        # Keras skips the optimizer of the best trial's weights file.
        "ignore:Skipping variable loading:UserWarning",
        "ignore:A total of:UserWarning",
    ),
]


def narrow(**ranges):
    """The smallest trials."""
    return DavidNetHyperModel(
        **{
            "width": 1,
            "dropout": 0.0,
            "augmentation": "none",
            "batch_size": 16,
            "epochs": 1,
            "num_classes": 2,
            "input_shape": (8, 8, 3),
            **ranges,
        }
    )
