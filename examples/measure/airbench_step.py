"""Measures what shortens airbench94_muon on a CPU, and cpu94 beside it.

    python examples/measure/airbench_step.py

The variants on TensorFlow and a plain PyTorch program, which needs the extra
`torch`, take turns in one process, a step at a time.  Prints two tables:
seconds per 1000 images, and minutes of all steps of a training, each with the
ratio to airbench94_muon in float32 and in bfloat16, turn by turn.
"""

import argparse
import os
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Before TensorFlow, or the process ends in a fault.
import torch  # isort: skip
import keras
import numpy as np
from benchmarking.report import by_round, spread, table
from benchmarking.steps import keras_step, random_data
from plain import pytorch_airbench94 as plain_airbench

from keras_davidnet import recipes

IMAGES = 50_000
BFLOAT16 = {"dtype": "mixed_bfloat16"}
CPU94 = recipes.get("cpu94")
# Recipe, what differs from it, and the size of the training images.
VARIANTS = {
    "float32": ("airbench94_muon", {}, None),
    "bfloat16": ("airbench94_muon", BFLOAT16, None),
    "bfloat16, 28 pixels": ("airbench94_muon", BFLOAT16, 28),
    "bfloat16, 24 pixels": ("airbench94_muon", BFLOAT16, 24),
    "bfloat16, first group of 48": (
        "airbench94_muon",
        {**BFLOAT16, "widths": (48, 256, 256)},
        None,
    ),
    **{
        f"cpu94, {size} pixels": ("cpu94", {}, size)
        for size in CPU94.image_sizes.values()
    },
}
PRECISIONS = "float32", "bfloat16"


def epochs_by_size(recipe):
    """The number of epochs that the recipe has with images of each size."""
    (resizing,) = recipe.callbacks()
    ends = [*resizing.sizes, recipe.epochs][1:]
    return {
        size: end - begin
        for (begin, size), end in zip(resizing.sizes.items(), ends, strict=True)
    }


def pytorch_step(precision, images, labels):
    """A step in plain PyTorch."""
    net = plain_airbench.Airbench().to(memory_format=torch.channels_last)
    optimizers = plain_airbench.make_optimizers(net, len(images))
    batch = torch.tensor(images), torch.tensor(labels)

    def step():
        with torch.autocast("cpu", enabled=precision == "bfloat16"):
            plain_airbench.train_step(net, optimizers, *batch)

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--batch-size", type=int, help="or those of the recipes"
    )
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    steps, batch_sizes = {}, {}
    for name, (recipe, changes, size) in VARIANTS.items():
        recipe = recipes.get(recipe).replace(**changes)
        batch_sizes[name] = args.batch_size or recipe.batch_size
        data = random_data(rng, batch_sizes[name])
        steps[name] = keras_step(recipe, size, *data)
    for precision in PRECISIONS:
        name = f"PyTorch, {precision}"
        batch_sizes[name] = batch_sizes[precision]
        data = random_data(rng, batch_sizes[name])
        steps[name] = pytorch_step(precision, *data)
    seconds = {name: [] for name in steps}
    for _ in range(1 + args.rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            taken = time.perf_counter() - begin
            seconds[name].append(1000 * taken / batch_sizes[name])
    # The first step is traced.
    seconds = {name: np.array(values[1:]) for name, values in seconds.items()}
    print(rows("s per 1000 images", seconds))

    epochs = {
        name: {name: recipes.get("airbench94_muon").epochs}
        for precision in PRECISIONS
        for name in (precision, f"PyTorch, {precision}")
    }
    epochs["cpu94"] = {
        f"cpu94, {size} pixels": count
        for size, count in epochs_by_size(CPU94).items()
    }
    minutes = {
        name: sum(
            count * whole_batches(batch_sizes[part]) / 60_000 * seconds[part]
            for part, count in parts.items()
        )
        for name, parts in epochs.items()
    }
    print(rows("min of training", minutes))


def whole_batches(batch_size):
    """How many images an epoch trains on."""
    return IMAGES - IMAGES % batch_size


def rows(unit, times):
    """A table of times, with their ratios to the recipe's in each precision."""
    return table(
        ["", unit, *(f"to {precision}" for precision in PRECISIONS)],
        [
            (
                name,
                spread(values, ".2f"),
                *(
                    spread(by_round(values, times[precision]), ".2f")
                    for precision in PRECISIONS
                ),
            )
            for name, values in times.items()
        ],
    )


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()
