"""Teaches a trained net new classes with few images.

    python examples/finetune.py
    python examples/finetune.py --data cifar10.npz

Takes the body of the net that the package holds, which was trained on
CIFAR-10's training images, and learns scikit-learn's digits from five images
each: on the frozen body with a new head, on the whole net at a smaller rate,
and, for comparison, from scratch.  With --data it learns which way up an image
is, after no, one, two or three quarter turns, from 50 of CIFAR-10's test images
of each class, and is tested on the other 9,500.
"""

import argparse
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from quickstart import load

from keras_davidnet import Airbench, datasets

BATCH_SIZE = 50


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="path of CIFAR-10, instead of digits")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    if args.data:
        _, (images, labels) = datasets.load_cifar10(args.data)
        chosen = first_of_each(labels, 50)
        images, labels = turned(images, args.seed)
        train = images[chosen], labels[chosen]
        test = np.delete(images, chosen, 0), np.delete(labels, chosen)
        classes = 4
    else:
        (images, labels), test = load()
        chosen = first_of_each(labels, 5)
        train = images[chosen], labels[chosen]
        classes = 10

    # The trained body, a new head, and the head's training.
    backbone = Airbench.from_preset("airbench94_muon", include_top=False)
    backbone.trainable = False
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    h = keras.layers.GlobalMaxPooling2D()(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(classes)(h))
    frozen = train_and_test(model, train, test, args.epochs, rate=1e-2)

    # The whole of it, gently.
    backbone.trainable = True
    fine_tuned = train_and_test(model, train, test, args.epochs, rate=1e-3)

    scratch = Airbench(num_classes=classes, label_smoothing=0)
    scratch.adapt(train[0])
    from_scratch = train_and_test(
        scratch, train, test, 2 * args.epochs, rate=1e-3
    )
    print(f"\nAfter {len(train[0])} images, accuracy on {len(test[0])} others:")
    print(f"  {frozen:.1%}  new head on the frozen body")
    print(f"  {fine_tuned:.1%}  fine-tuned")
    print(f"  {from_scratch:.1%}  from scratch, as many epochs")


def first_of_each(labels, number):
    """The places of the first images of each class."""
    labels = labels.ravel()
    first = [np.flatnonzero(labels == c)[:number] for c in np.unique(labels)]
    return np.concatenate(first)


def turned(images, seed):
    """The images, each after 0 to 3 quarter turns, and how many."""
    turns = np.random.default_rng(seed).integers(0, 4, len(images))
    images = [np.rot90(i, t) for i, t in zip(images, turns, strict=True)]
    return np.stack(images), turns


def train_and_test(model, train, test, epochs, rate):
    """Compiles, as what is trainable has changed; gives the accuracy."""
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*train, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    return model.evaluate(*test, batch_size=500, verbose=0)[1]


if __name__ == "__main__":
    main()
