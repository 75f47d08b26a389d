"""Fine-tunes a pretrained model on new classes, with few images.

    python examples/finetune.py
    python examples/finetune.py --data cifar10.npz

Takes the backbone of a model that was trained on CIFAR-10, and learns
scikit-learn's digits from five images each: first a new head on the frozen
backbone, then the whole model with a smaller learning rate and, for comparison,
a model from scratch.  With --data it learns by how many quarter turns an image
was rotated, from 50 test images of CIFAR-10 per class, and is tested on the
other 9,500.
"""

import argparse
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import numpy as np
import sklearn.datasets

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
        images, labels = rotate(images, args.seed)
        train = images[chosen], labels[chosen]
        test = np.delete(images, chosen, 0), np.delete(labels, chosen)
        classes = 4
    else:
        (images, labels), test = load_digits()
        chosen = first_of_each(labels, 5)
        train = images[chosen], labels[chosen]
        classes = 10

    # A new head on the frozen backbone.
    backbone = Airbench.from_preset(
        "airbench94_muon_cifar10", include_top=False
    )
    backbone.trainable = False
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    h = keras.layers.GlobalMaxPooling2D()(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(classes)(h))
    frozen = train_and_test(model, train, test, args.epochs, learning_rate=1e-2)

    # The whole model, with a smaller learning rate.
    backbone.trainable = True
    fine_tuned = train_and_test(
        model, train, test, args.epochs, learning_rate=1e-3
    )

    scratch = Airbench(num_classes=classes, label_smoothing=0)
    scratch.adapt(train[0])
    from_scratch = train_and_test(
        scratch, train, test, 2 * args.epochs, learning_rate=1e-3
    )
    print(f"\nAfter {len(train[0])} images, accuracy on {len(test[0])} others:")
    print(f"  {frozen:.1%}  new head on the frozen backbone")
    print(f"  {fine_tuned:.1%}  fine-tuned")
    print(f"  {from_scratch:.1%}  from scratch, as many epochs in all")


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


def first_of_each(labels, number):
    """The indices of the first images of each class."""
    labels = labels.ravel()
    first = [np.flatnonzero(labels == c)[:number] for c in np.unique(labels)]
    return np.concatenate(first)


def rotate(images, seed):
    """Rotates each image by 0 to 3 quarter turns; also returns the number."""
    turns = np.random.default_rng(seed).integers(0, 4, len(images))
    images = [np.rot90(i, t) for i, t in zip(images, turns, strict=True)]
    return np.stack(images), turns


def train_and_test(model, train, test, epochs, learning_rate):
    """Compiles after a change of `trainable`; returns the accuracy."""
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*train, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    return model.evaluate(*test, batch_size=500, verbose=0)[1]


if __name__ == "__main__":
    main()
