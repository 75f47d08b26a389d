"""Measures what shortens a step of airbench94_muon on a CPU.

    python examples/measure/airbench_step.py

The variants on TensorFlow and a plain PyTorch program, which needs the extra
`torch`, take turns in one process, a step of the recipe's 2000 images at a
time.  Prints a table: seconds per step, and the ratio to the recipe in float32
and in bfloat16, step by step.
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
import plain_airbench
import tensorflow as tf
from benchmarking.report import by_round, spread, table

from keras_davidnet import recipes

# What differs from the recipe, and the size of the training images.
BFLOAT16 = {"dtype": "mixed_bfloat16"}
VARIANTS = {
    "float32": ({}, None),
    "bfloat16": (BFLOAT16, None),
    "bfloat16, 28 pixels": (BFLOAT16, 28),
    "bfloat16, 24 pixels": (BFLOAT16, 24),
    "bfloat16, first group of 48": (
        {**BFLOAT16, "widths": (48, 256, 256)},
        None,
    ),
}


def keras_step(recipe, size, images, labels):
    """A step of the recipe, as a function of nothing."""
    model = recipe.model()
    model.training_size = size
    model.adapt(images)
    model.compile(recipe.optimizer(steps_per_epoch=25))
    batch = tf.constant(images), tf.constant(labels)
    return lambda: model.train_on_batch(*batch)


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
    parser.add_argument("--batch-size", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.batch_size, 32, 32, 3), "uint8")
    labels = rng.integers(0, 10, len(images))
    recipe = recipes.get("airbench94_muon").replace(batch_size=args.batch_size)
    steps = {
        name: keras_step(recipe.replace(**changes), size, images, labels)
        for name, (changes, size) in VARIANTS.items()
    }
    for precision in ("float32", "bfloat16"):
        steps[f"PyTorch, {precision}"] = pytorch_step(precision, images, labels)
    seconds = {name: [] for name in steps}
    for _ in range(1 + args.rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begin)
    # The first step is traced.
    seconds = {name: values[1:] for name, values in seconds.items()}
    print(
        table(
            ["", "s per step", "to float32", "to bfloat16"],
            [
                (
                    name,
                    spread(values, ".2f"),
                    spread(by_round(values, seconds["float32"]), ".2f"),
                    spread(by_round(values, seconds["bfloat16"]), ".2f"),
                )
                for name, values in seconds.items()
            ],
        )
    )


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()
