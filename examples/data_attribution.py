"""Which training images help a prediction?  Datamodels of CIFAR-10.

    python examples/data_attribution.py --data cifar10.npz

Trains many small nets, each on a random half of some training images.  For each
test image it fits a linear model, from which training images a net saw to the
margin of that net.  A positive weight means that the training image helps, a
negative one that it harms.  These are the datamodels of Ilyas et al. (2022),
https://arxiv.org/abs/2202.00622, by ridge regression in place of the Lasso.

A quarter of the nets is held out.  The linear datamodeling score of Park et al.
(2023), https://arxiv.org/abs/2303.14186, is Spearman's rank correlation of
their predicted and true margins, averaged over the test images.

It needs matplotlib, scikit-learn, SciPy and, without --data, a download.  The
same command continues where it was stopped.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from sklearn.linear_model import RidgeCV

from keras_davidnet import datasets, recipes


def rank_correlations(a, b):
    """Spearman's correlation of each column of `a` with that of `b`."""
    a, b = (stats.zscore(stats.rankdata(one, axis=0), axis=0) for one in (a, b))
    return (a * b).mean(0)


def score_with_interval(predicted, margins):
    """The linear datamodeling score, and its 95% interval over the nets."""

    def score(nets):
        return rank_correlations(predicted[nets], margins[nets]).mean()

    nets = np.arange(len(margins))
    interval = stats.bootstrap(
        (nets,),
        score,
        vectorized=False,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return score(nets), interval


def save_picture(path, train, test, weights):
    """Draws test images, and the training images of most weight."""
    figure, axes = plt.subplots(
        len(weights), 11, figsize=(11, 4.2), layout="constrained"
    )
    axes[0, 3].set_title("helpful", fontsize=11)
    axes[0, 8].set_title("harmful", fontsize=11)
    for row, image, label, weight in zip(axes, *test, weights, strict=False):
        order = weight.argsort()
        shown = [(image, label)] + [
            (train[0][index], train[1][index])
            for index in [*order[:-6:-1], *order[:5]]
        ]
        for axis, (image, label) in zip(row, shown, strict=True):
            axis.imshow(image)
            axis.set_xlabel(datasets.CIFAR10_CLASSES[label], fontsize=8)
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", help="path of CIFAR-10; without it, it is downloaded"
    )
    parser.add_argument("--nets", type=int, default=128)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--output", type=pathlib.Path, default="runs/data_attribution"
    )
    args = parser.parse_args()
    train, test = datasets.load_cifar10(args.data)
    train = [array[: args.images] for array in train]
    test = [array[: args.test_images] for array in test]
    recipe = recipes.get("davidnet").replace(
        width=args.width, epochs=args.epochs, batch_size=32
    )
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        args.workers, mp_context=context
    ) as executor:
        runs = recipe.fit_many(
            *train,
            seeds=range(args.nets),
            subsets=0.5,
            folder=args.output / "nets",
            executor=executor,
            threads=1,
        )
    masks, margins = runs.masks, runs.margins(*test)
    seen = 3 * args.nets // 4
    ridge = RidgeCV(np.logspace(0, 5, 11)).fit(masks[:seen], margins[:seen])
    score, interval = score_with_interval(
        ridge.predict(masks[seen:]), margins[seen:]
    )
    accuracy = runs.accuracy(*test)
    print(f"Accuracy of the nets: {accuracy.mean():.1%}")
    print(
        f"Linear datamodeling score: {score:.3f}, 95% interval "
        f"{interval.low:.3f} to {interval.high:.3f}"
    )
    path = args.output / "images.png"
    save_picture(path, train, [part[:3] for part in test], ridge.coef_[:3])
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
