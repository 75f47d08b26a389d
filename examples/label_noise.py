"""Finds wrong labels in CIFAR-10 by one training run.

    python examples/label_noise.py --data cifar10.npz

Gives 5% of the training images a wrong label, trains a net on all, and sorts
the images by their mean margin over the epochs: those that the net never
believes come first.  Prints which part of the wrong labels is found, and draws
the worst images whose labels were not changed: some are CIFAR-10's own errors.

It needs matplotlib and, without --data, a download.  The same command continues
where it was stopped.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import matplotlib.pyplot as plt
import numpy as np

from keras_davidnet import ExampleLog, Resume, datasets, recipes


def flip_labels(y, part, seed):
    """The labels, of which a part is replaced by another class; and which."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(y)) < round(part * len(y))
    classes = len(datasets.CIFAR10_CLASSES)
    others = (y + rng.integers(1, classes, len(y))) % classes
    return np.where(wrong, others, y), wrong


def precision_and_recall(scores, wrong, count):
    """Of the `count` lowest scores: how many are wrong, and of all wrong."""
    found = wrong[scores.argsort()[:count]].sum()
    return found / count, found / wrong.sum()


def save_picture(path, images, labels, order):
    """Draws the first images of an order with their labels."""
    figure, axes = plt.subplots(4, 10, figsize=(10, 4.8), layout="constrained")
    for axis, index in zip(axes.flat, order, strict=False):
        axis.imshow(images[index])
        axis.set_title(datasets.CIFAR10_CLASSES[labels[index]], fontsize=8)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", help="path of CIFAR-10; without it, it is downloaded"
    )
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=pathlib.Path, default="runs/label_noise"
    )
    args = parser.parse_args()
    (x, y), _ = datasets.load_cifar10(args.data)
    x, y = x[: args.images], y[: args.images].astype("int64").ravel()
    noisy, wrong = flip_labels(y, args.noise, args.seed)

    args.output.mkdir(parents=True, exist_ok=True)
    log = ExampleLog()
    recipe = recipes.get("davidnet").replace(
        width=args.width, epochs=args.epochs
    )
    recipe.fit(
        x,
        noisy,
        seed=args.seed,
        callbacks=[Resume(args.output / "state.npz"), log],
        verbose=2,
    )
    scores = log.mean_margin()
    np.savez(args.output / "scores.npz", scores=scores, wrong=wrong)

    print("| images looked at | precision | recall |\n| --- | --- | --- |")
    for factor in (0.5, 1, 2):
        count = round(factor * wrong.sum())
        precision, recall = precision_and_recall(scores, wrong, count)
        print(f"| {count} | {precision:.1%} | {recall:.1%} |")
    suspects = [index for index in scores.argsort() if not wrong[index]]
    save_picture(args.output / "suspects.png", x, y, suspects)
    print(f"Wrote {args.output / 'suspects.png'}")


if __name__ == "__main__":
    main()
