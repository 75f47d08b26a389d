"""Finds a learning rate for a narrow DavidNet on scikit-learn's digits.

    python examples/lr_finder.py

It takes about half a minute and draws the loss against the rate.
"""

import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from curves import plt
from quickstart import BATCH_SIZE, load

from keras_davidnet import (
    DavidNet,
    LearningRateFinder,
    RandomPadCrop,
    datasets,
)

OUTPUT = pathlib.Path("runs/lr_finder")


def main():
    keras.utils.set_random_seed(0)
    (x_train, y_train), _ = load()
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
    save_loss_by_rate(finder, OUTPUT / "lr_finder.png")
    print(
        f"The loss falls fastest at a rate of {finder.suggestion:.2g} "
        f"and was followed up to {finder.rates[-1]:.2g}."
    )
    print(f"Wrote {OUTPUT / 'lr_finder.png'}")


def save_loss_by_rate(finder, path):
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    axis.plot(finder.rates, finder.losses, alpha=0.3, label="each batch")
    axis.plot(finder.rates, finder.smoothed, label="smoothed")
    axis.axvline(finder.suggestion, ls="--", label="suggestion")
    axis.set_xscale("log")
    # The last losses would hide the others.
    axis.set_ylim(0, 2 * max(finder.smoothed[:10]))
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
