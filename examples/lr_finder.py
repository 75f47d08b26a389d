"""Finds a learning rate for a narrow DavidNet on scikit-learn's digits.

    python examples/lr_finder.py

It takes about half a minute and plots the loss against the learning rate.
"""

import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets

from keras_davidnet import (
    DavidNet,
    LearningRateFinder,
    RandomPadCrop,
    datasets,
)

OUTPUT = pathlib.Path("runs/lr_finder")
BATCH_SIZE = 64


def load_digits():
    """Digits as uint8 images of shape (n, 32, 32, 3), a fifth held out."""
    digits = sklearn.datasets.load_digits()
    images = (digits.images * 255 / 16).astype("uint8")
    images = images.repeat(4, axis=1).repeat(4, axis=2)
    images = np.stack([images] * 3, axis=-1)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = np.split(order, [len(order) * 4 // 5])
    return (
        (images[train], digits.target[train]),
        (images[test], digits.target[test]),
    )


def main():
    keras.utils.set_random_seed(0)
    (x_train, y_train), _ = load_digits()
    train_ds = datasets.make_dataset(
        x_train, y_train, BATCH_SIZE, training=True, seed=0
    )
    model = DavidNet(
        width=16,
        mean=(x_train.mean() / 255,) * 3,
        std=(x_train.std() / 255,) * 3,
        augmentation=RandomPadCrop(4),
    )
    model.compile()
    finder = LearningRateFinder(low=1e-4, high=10)
    # Each epoch has 22 steps.
    model.fit(train_ds, epochs=7, callbacks=[finder], verbose=0)

    OUTPUT.mkdir(parents=True, exist_ok=True)
    save_plot(finder, OUTPUT / "lr_finder.png")
    print(
        f"The loss falls fastest at a learning rate of {finder.suggestion:.2g} "
        f"and was measured up to {finder.rates[-1]:.2g}."
    )
    print(f"Wrote {OUTPUT / 'lr_finder.png'}")


def save_plot(finder, path):
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    axis.plot(finder.rates, finder.losses, alpha=0.3, label="each batch")
    axis.plot(finder.rates, finder.smoothed, label="smoothed")
    axis.axvline(finder.suggestion, ls="--", label="suggestion")
    axis.set_xscale("log")
    # Without the last, very large losses.
    axis.set_ylim(0, 2 * max(finder.smoothed[:10]))
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
