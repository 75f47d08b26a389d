"""Draws the pictures of README.md and the docs, into docs/.

    python examples/measure/pictures.py

- accuracy-by-time.png: runs of docs/results that had their machine to
  themselves.
- net.png: DavidNet and Airbench, with the shapes that the layers give.
- augmentation.png: draws of the augmentation layers, on scikit-learn's photo
  of a flower (CC BY 2.0, vultilion).
"""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib
import numpy as np
from sklearn.datasets import load_sample_image

from keras_davidnet import (
    Airbench,
    DavidNet,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

DOCS = pathlib.Path(__file__).parents[2] / "docs"

# A run's seconds count only if it had the machine to itself, as the pages of
# the results say: by hardware and recipe, its file and the recipe's views.
RUNS = {
    ("two CPU cores", "minutes", 60): {
        "airbench94_muon": ("airbench94-muon/seed-1", "mirror_translate"),
        "cpu94": ("cpu94/seed-7", "mirror_translate"),
    },
    ("one H200, compilation included", "seconds", 1): {
        "davidnet": ("gpu-h200/davidnet/seed-0", "plain"),
        "airbench94_muon": (
            "gpu-h200/airbench94_muon-alone",
            "mirror_translate",
        ),
    },
}
COLORS = {
    "airbench94_muon": "tab:blue",
    "cpu94": "tab:green",
    "davidnet": "tab:orange",
}


def draw_accuracy(path: pathlib.Path) -> None:
    """Training accuracy by time as lines, test accuracy at the end as dots."""
    figure, axes = plt.subplots(
        1, len(RUNS), figsize=(9, 3.7), sharey=True, layout="constrained"
    )
    for axis, ((hardware, unit, seconds), files) in zip(
        axes, RUNS.items(), strict=True
    ):
        for name, (file, views) in files.items():
            run = json.loads((DOCS / f"results/{file}.json").read_text())
            time = np.cumsum(run["history"]["seconds"]) / seconds
            color = COLORS[name]
            training = np.multiply(run["history"]["accuracy"], 100)
            axis.plot(time, training, color=color, label=f"{name}, training")
            test = 100 * run["accuracy"][views]
            axis.plot(
                time[-1], test, "o", color=color, label=f"{name}, test at end"
            )
            axis.annotate(
                f"{test:.1f}%",
                (time[-1], test),
                (6, -4),
                textcoords="offset points",
                color=color,
            )
        axis.axhline(94, color="grey", linewidth=0.8, linestyle=":")
        axis.set(title=hardware, xlabel=f"{unit} of training")
        axis.set_xlim(0, 1.12 * axis.get_xlim()[1])
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="accuracy, %", ylim=(40, 100))
    by_label = {
        line.get_label(): line for axis in axes for line in axis.get_lines()
    }
    labels = [
        f"{name}, {which}"
        for name in COLORS
        for which in ("training", "test at end")
    ]
    figure.legend(
        [by_label[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=3,
        fontsize="small",
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def count(layers) -> int:
    """Their weights, without the moving statistics."""
    return sum(
        int(np.prod(weight.shape))
        for layer in layers
        for weight in layer.weights
        if "moving" not in weight.path and "seed" not in weight.path
    )


def draw_nets(path: pathlib.Path) -> None:
    """The bodies as rows of boxes: layer, shape of its output, weights."""
    nets = (DavidNet(), Airbench())
    figure, axes = plt.subplots(
        len(nets), 1, figsize=(9, 3), layout="constrained"
    )
    for axis, net in zip(axes, nets, strict=True):
        shape = (None, *net.image_shape)
        boxes = [("images\nuint8", shape, 0)]
        for layer in net.body:
            shape = layer.compute_output_shape(shape)
            kind = type(layer).__name__
            boxes.append((f"{layer.name}\n{kind}", shape, count([layer])))
        boxes.append(("max pooling\nlinear", (None, 10), 10 * shape[-1]))
        for i, (label, shape, weights) in enumerate(boxes):
            axis.text(
                i,
                0,
                label,
                ha="center",
                va="center",
                fontsize=8,
                bbox={"boxstyle": "round,pad=0.5", "facecolor": "#dbe9f6"},
            )
            sizes = " x ".join(map(str, shape[1:]))
            axis.text(i, -0.75, sizes, ha="center", fontsize=8)
            if weights:
                axis.text(
                    i,
                    0.6,
                    f"{weights:,}",
                    ha="center",
                    fontsize=7,
                    color="grey",
                )
            if i:
                axis.annotate(
                    "",
                    (i - 0.42, 0),
                    (i - 0.58, 0),
                    arrowprops={"arrowstyle": "->"},
                )
        axis.set(xlim=(-0.6, len(boxes) - 0.4), ylim=(-1, 1))
        axis.axis("off")
        axis.set_title(
            f"{type(net).__name__}: {count([net]):,} weights",
            loc="left",
            fontsize=10,
        )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_augmentation(path: pathlib.Path) -> None:
    """A row of draws for each layer, on one image of 32x32 pixels."""
    keras.utils.set_random_seed(0)
    photo = load_sample_image("flower.jpg")[:416, 110:526]
    image = photo.reshape(32, 13, 32, 13, 3).mean((1, 3)).astype("float32")
    rows = {
        "crop": RandomPadCrop(4, seed=0),
        "flip": RandomHorizontalFlip(seed=1),
        "cutout": RandomCutout(8, seed=2),
    }
    figure, axes = plt.subplots(
        len(rows), 7, figsize=(7, 3.1), layout="constrained"
    )
    for cells, (name, layer) in zip(axes, rows.items(), strict=True):
        batch = np.repeat(image[None], 6, axis=0)
        drawn = keras.ops.convert_to_numpy(layer(batch, training=True))
        for cell, pixels in zip(cells, (image, *drawn), strict=True):
            cell.imshow(pixels.astype("uint8"), interpolation="none")
            cell.set(xticks=[], yticks=[])
        cells[0].set_ylabel(name)
    axes[0][0].set_title("image", fontsize=9)
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    draw_accuracy(DOCS / "accuracy-by-time.png")
    draw_nets(DOCS / "net.png")
    draw_augmentation(DOCS / "augmentation.png")
