"""Which images was a net trained on?  LiRA on CIFAR-10, by many nets.

    python examples/membership_inference.py --data cifar10.npz

Trains shadow nets and a target, each on a random half of the training images,
and attacks the target: an image was trained on if its margin is more like those
of the shadow nets that saw it than like those of the others.  This is the
online attack of Carlini et al. (2022), https://arxiv.org/abs/2112.03570, with
one variance for all images, as they advise for few shadow nets.

It needs matplotlib, scikit-learn, SciPy and, without --data, a download.  The
same command continues where it was stopped.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from sklearn import metrics

from keras_davidnet import datasets, recipes


def lira(margins, masks, target):
    """The log-likelihood ratio that each image was trained on.

    Args:
        margins: Of the shadow nets, `(nets, n)`.
        masks: Which images they were trained on, `(nets, n)`.
        target: Margins of the net that is attacked, `(n,)`.

    Returns:
        `(n,)`, NaN for an image that all shadow nets saw, or none.
    """
    likelihoods = []
    for group in (masks, ~masks):
        count = group.sum(0)
        with np.errstate(invalid="ignore"):
            mean = np.where(group, margins, 0).sum(0) / count
        deviation = np.where(group, margins - mean, 0)
        # An image's own mean takes one degree of freedom.
        freedom = np.maximum(count - 1, 0).sum()
        sd = np.sqrt(np.nansum(deviation**2) / freedom)
        likelihoods.append(stats.norm.logpdf(target, mean, sd))
    return likelihoods[0] - likelihoods[1]


def save_picture(path, false, true, area):
    figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
    axis.loglog(false, true, label=f"LiRA, area {area:.3f}")
    axis.loglog([1e-5, 1], [1e-5, 1], "--", color="gray", label="chance")
    axis.set(
        xlim=(1e-5, 1),
        ylim=(1e-5, 1),
        xlabel="false positive rate",
        ylabel="true positive rate",
    )
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", help="path of CIFAR-10; without it, it is downloaded"
    )
    parser.add_argument("--shadows", type=int, default=16)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument(
        "--output", type=pathlib.Path, default="runs/membership_inference"
    )
    args = parser.parse_args()
    (x, y), _ = datasets.load_cifar10(args.data)
    x, y = x[: args.images], y[: args.images]
    recipe = recipes.get("davidnet").replace(
        width=args.width, epochs=args.epochs
    )
    runs = recipe.fit_many(
        x,
        y,
        seeds=range(args.shadows + 1),
        subsets=0.5,
        folder=args.output / "nets",
        verbose=2,
    )
    views = "mirror"
    margins, masks = runs.margins(x, y, views), runs.masks
    scores = lira(margins[:-1], masks[:-1], margins[-1])
    known = np.isfinite(scores)
    members = masks[-1][known]
    false, true, _ = metrics.roc_curve(members, scores[known])
    area = metrics.auc(false, true)

    right = runs.predict(x, views)[-1].argmax(1) == y.ravel()
    seen, unseen = right[masks[-1]].mean(), right[~masks[-1]].mean()
    print(f"The target: {seen:.2%} of its images, {unseen:.2%} of the others")
    print(f"Area under the curve: {area:.3f}")
    for rate in (0.001, 0.01):
        found = true[false <= rate].max()
        print(f"True positives at {rate:.1%} false positives: {found:.2%}")
    path = args.output / "roc.png"
    save_picture(path, false, true, area)
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
