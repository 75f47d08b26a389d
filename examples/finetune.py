"""Takes the body of a trained net for other classes with few images.

    python examples/finetune.py

Trains a narrow DavidNet on the digits 0 to 4 of scikit-learn, then learns 5 to
9 from a few images each: on the frozen body with a new head, on the whole net
at a smaller rate, and, for comparison, from scratch.
"""

import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from quickstart import load

from keras_davidnet import DavidNet, RandomPadCrop, recipes

PER_CLASS, BATCH_SIZE = 4, 20
OUTPUT = pathlib.Path("runs/finetune")


def main():
    keras.utils.set_random_seed(0)
    train, test = load()
    old = select(train, digits=range(5))
    new = few(*select(train, digits=range(5, 10)))
    new_test = select(test, digits=range(5, 10))

    # The net that has seen much of other things.
    net = DavidNet(num_classes=5, width=8, augmentation=RandomPadCrop(4))
    steps = len(old[0]) // 64
    net.compile(recipes.davidnet_optimizer(steps, epochs=8, peak=0.2))
    net.fit(*old, batch_size=64, epochs=8)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    net.save(OUTPUT / "pretrained.keras")

    # Its body, a new head, and the head's training.
    backbone = DavidNet.from_config({**net.get_config(), "include_top": False})
    backbone.load_weights(OUTPUT / "pretrained.keras")
    backbone.trainable = False
    images = keras.Input((32, 32, 3), dtype="uint8")
    h = keras.layers.GlobalMaxPooling2D()(backbone(images))
    model = keras.Model(images, keras.layers.Dense(5)(h))
    frozen = train_and_test(model, new, new_test, epochs=30, rate=0.05)

    # The whole of it, gently.
    backbone.trainable = True
    fine_tuned = train_and_test(model, new, new_test, epochs=20, rate=0.005)

    scratch = DavidNet(num_classes=5, width=8, augmentation=RandomPadCrop(4))
    from_scratch = train_and_test(scratch, new, new_test, epochs=50, rate=0.1)
    print(f"\nDigits 5 to 9 from {PER_CLASS} images each, held-out accuracy:")
    print(f"  {frozen:.1%}  new head on the frozen body")
    print(f"  {fine_tuned:.1%}  fine-tuned")
    print(f"  {from_scratch:.1%}  from scratch, as many epochs")


def select(data, digits):
    """The images of these digits, labelled from 0."""
    images, labels = data
    chosen = np.isin(labels, digits)
    return images[chosen], labels[chosen] - digits[0]


def few(images, labels):
    first = [np.flatnonzero(labels == c)[:PER_CLASS] for c in range(5)]
    first = np.concatenate(first)
    return images[first], labels[first]


def train_and_test(model, train, test, epochs, rate):
    """Compiles, as what is trainable has changed; gives the accuracy."""
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*train, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    return model.evaluate(*test, verbose=0)[1]


if __name__ == "__main__":
    main()
