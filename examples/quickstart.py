"""Trains a narrow DavidNet on scikit-learn's digits, in about a minute.

    python examples/quickstart.py

The 1,797 digits come with scikit-learn, so nothing is downloaded.  They are
upscaled from 8x8 gray levels to 32x32 color images, the size of CIFAR-10's.
"""

import os
import pathlib
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets

from keras_davidnet import DavidNet, RandomPadCrop, datasets, optimizers

EPOCHS, BATCH_SIZE = 12, 64
OUTPUT = pathlib.Path("runs/quickstart")


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


def save_curves(history, path):
    """Plots loss, accuracy and learning rate by epoch."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    for axis, name in zip(
        axes, ("loss", "accuracy", "learning_rate"), strict=True
    ):
        axis.plot(epochs, history[name], marker="o", label="training")
        if f"val_{name}" in history:
            axis.plot(
                epochs, history[f"val_{name}"], marker="o", label="held out"
            )
            axis.legend()
        axis.set(title=name.replace("_", " "), xlabel="epoch")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main():
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = load_digits()
    train_ds = datasets.make_dataset(
        x_train, y_train, BATCH_SIZE, training=True, seed=0
    )
    test_ds = datasets.make_dataset(x_test, y_test, batch_size=len(x_test))

    model = DavidNet(
        width=16,
        mean=(x_train.mean() / 255,) * 3,
        std=(x_train.std() / 255,) * 3,
        # The mirror image of a digit is not a digit.
        augmentation=RandomPadCrop(4),
    )
    model.compile(
        optimizer=optimizers.davidnet_optimizer(
            len(train_ds), EPOCHS, peak_learning_rate=0.2
        )
    )
    start = time.perf_counter()
    history = model.fit(
        train_ds,
        epochs=EPOCHS,
        validation_data=test_ds,
    ).history
    seconds = time.perf_counter() - start

    OUTPUT.mkdir(parents=True, exist_ok=True)
    model.save(OUTPUT / "model.keras")
    save_curves(history, OUTPUT / "curves.png")
    print(
        f"\nReached {history['val_accuracy'][-1]:.1%} on {len(x_test)} "
        f"held-out digits in {seconds:.0f} s of training."
    )
    print(f"Wrote {OUTPUT / 'model.keras'} and {OUTPUT / 'curves.png'}")


if __name__ == "__main__":
    main()
