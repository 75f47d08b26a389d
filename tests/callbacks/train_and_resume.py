"""A run that `test_resume.py` kills, as a program.

usage: python train_and_resume.py STATE RESULT
"""

import json
import sys

import keras
import numpy as np

import keras_davidnet

EPOCHS, BATCH_SIZE = 20, 8


def main(state, result):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 8, 8, 3), "uint8")
    labels = rng.integers(0, 10, 64)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras_davidnet.RandomPadCrop(),
            keras_davidnet.RandomHorizontalFlip(),
            keras_davidnet.ConvBN(8, dropout=0.2),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras_davidnet.optimizers.davidnet_optimizer(
            len(images) // BATCH_SIZE, EPOCHS
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    dataset = keras_davidnet.datasets.make_dataset(
        images, labels, BATCH_SIZE, training=True, seed=0, alternating_flip=True
    )
    history = model.fit(
        dataset,
        epochs=EPOCHS,
        shuffle=False,
        callbacks=[keras_davidnet.Resume(state, dataset)],
        verbose=0,
    ).history
    np.savez(
        result,
        *(keras.ops.convert_to_numpy(v) for v in model.variables),
        *(keras.ops.convert_to_numpy(v) for v in model.optimizer.variables),
        history=json.dumps(history),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
