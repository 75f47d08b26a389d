"""Runs that `test_fit_many.py` kills and hands to workers.

usage: python train_many.py FOLDER
"""

import sys

import numpy as np

from keras_davidnet import recipes

N, SEEDS = 60, (5, 2)


def data():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N, 9, 9, 3), "uint8"), np.arange(N) % 3


def recipe(**changes):
    """One with whitening, alternating flip and a group of Muon."""
    return recipes.get("airbench94_muon").replace(
        **{
            "widths": (2, 2, 2),
            "num_classes": 3,
            "input_shape": (9, 9, 3),
            "views": "mirror",
            "batch_size": 14,
            "epochs": 3,
            **changes,
        }
    )


if __name__ == "__main__":
    recipe(epochs=12).fit_many(
        *data(), seeds=SEEDS, subsets=0.5, folder=sys.argv[1], verbose=0
    )
