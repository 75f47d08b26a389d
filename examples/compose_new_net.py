"""Composes a new model from the layers, and trains it.

    python examples/compose_new_net.py

A model for small gray images and three classes, with a strided stem, average
pooling and a wider kernel.  It learns which of three curves is drawn in each
image; the script generates the images.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import numpy as np

from keras_davidnet import (
    ConvBN,
    DecoupledWeightDecay,
    PiecewiseLinear,
    PyTorchSGD,
    RandomPadCrop,
    ResBlock,
)

SIZE, CLASSES = 48, 3


def draw_curves(count, seed):
    """Noisy gray images of shape (count, 48, 48, 1): circle, square, cross."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    center = rng.uniform(18, 30, (2, count, 1, 1))
    radius = rng.uniform(8, 14, (count, 1, 1))
    rows, columns = np.indices((SIZE, SIZE))[:, None] - center
    distance = np.stack(
        [
            np.abs(np.hypot(rows, columns) - radius),
            np.abs(np.maximum(np.abs(rows), np.abs(columns)) - radius),
            np.maximum(
                np.minimum(np.abs(rows), np.abs(columns)),
                np.maximum(np.abs(rows), np.abs(columns)) - radius,
            ),
        ]
    )[labels, np.arange(count)]
    ink = 160 * (distance < 1.5) + rng.normal(60, 30, distance.shape)
    return ink.clip(0, 255).astype("uint8")[..., None], labels


def build():
    images = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 64, offset=-2)(images)
    x = RandomPadCrop(4)(x)
    x = ConvBN(16, kernel_size=5, strides=2, activation="gelu")(x)
    x = ResBlock(32, residual=True, pool=keras.layers.AveragePooling2D(2))(x)
    x = ResBlock(64, residual=True, dropout=0)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(CLASSES)(x))


def main():
    keras.utils.set_random_seed(0)
    x_train, y_train = draw_curves(1536, seed=0)
    x_test, y_test = draw_curves(500, seed=1)
    epochs, batch_size = 5, 64
    model = build()
    model.summary()
    model.compile(
        optimizer=PyTorchSGD(
            PiecewiseLinear.from_epochs(
                [0, 1, epochs],
                [0.0, 0.1, 0.0],
                steps_per_epoch=len(x_train) // batch_size,
            ),
            momentum=0.9,
            nesterov=True,
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        x_train,
        y_train,
        batch_size=batch_size,
        epochs=epochs,
        validation_data=(x_test, y_test),
        callbacks=[DecoupledWeightDecay(5e-3, exclude=["gamma", "beta"])],
    )
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"\nReached {accuracy:.1%} on 500 drawings that it has not seen.")


if __name__ == "__main__":
    main()
