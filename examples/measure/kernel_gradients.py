"""Measures the gradients of convolution kernels on TensorFlow in bfloat16.

    python examples/measure/kernel_gradients.py

Prints two tables: the speed of TensorFlow's own gradient and of the matrix
products that replace it where images are small, by shape; and the processor's
time of a whole step of three recipes with either.  What is compared takes
turns.  Random data.
"""

import argparse
import os
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from benchmarking.report import by_round, spread, table
from benchmarking.steps import keras_step, random_data

from keras_davidnet import recipes
from keras_davidnet._backend import tensorflow as backend

# Height and width, kernel size, channels, filters: those of the recipes.
SHAPES = [
    (15, 3, 64, 64),
    (15, 3, 64, 256),
    (7, 3, 256, 256),
    (3, 3, 256, 256),
    (7, 2, 256, 768),
    (3, 3, 512, 768),
]
# Recipes, and the sizes of their training images.
STEPS = {
    "airbench94_muon": [32],
    "cpu94": [24, 32],
    "cifar100_75": [20, 24, 32],
}


def gradients(batch_size, size, kernel_size, channels, filters):
    """Both gradients of one kernel, as functions of nothing, and GFLOP."""
    images, upstream = (
        tf.cast(tf.random.normal((batch_size, size, size, count)), "bfloat16")
        for count in (channels, filters)
    )
    shape = kernel_size, kernel_size, channels, filters

    @tf.function
    def tensorflow():
        return tf.raw_ops.Conv2DBackpropFilter(
            input=images,
            filter_sizes=shape,
            out_backprop=upstream,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )

    @tf.function
    def products():
        return backend.kernel_gradient(images, upstream, tf.TensorShape(shape))

    flop = 2 * batch_size * size**2 * np.prod(shape)
    return tensorflow, products, flop / 1e9


def step(name, size, batch_size, small_map):
    """A step of a recipe, traced with one of the two gradients."""
    recipe = recipes.get(name).replace(dtype="mixed_bfloat16")
    rng = np.random.default_rng(0)
    data = random_data(rng, batch_size or recipe.batch_size)
    run = keras_step(recipe, size, *data)
    # It is read when the step is traced.
    backend.SMALL_MAP = small_map
    run()
    return run


def turns(rounds, clock, *functions):
    """Seconds of the functions, `(functions, rounds)`, which take turns."""
    seconds = np.empty((len(functions), 1 + rounds))
    for turn in range(1 + rounds):
        for times, function in zip(seconds, functions, strict=True):
            begin = clock()
            function()
            times[turn] = clock() - begin
    return seconds[:, 1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, help="or the recipes'")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    small_map = backend.SMALL_MAP

    rows = []
    for shape in SHAPES:
        *functions, gflop = gradients(args.batch_size or 512, *shape)
        own, products = turns(args.rounds, time.perf_counter, *functions)
        size, kernel_size, channels, filters = shape
        rows.append(
            (
                f"{size}x{size}",
                f"{kernel_size}x{kernel_size}, {channels} to {filters}",
                spread(gflop / own, ".0f"),
                spread(gflop / products, ".0f"),
                "products" if size <= small_map else "TensorFlow",
            )
        )
    print(
        table(
            [
                "images",
                "kernel",
                "TensorFlow, GFLOPS",
                "products, GFLOPS",
                "used",
            ],
            rows,
        )
    )

    rows = []
    for name, sizes in STEPS.items():
        for size in sizes:
            functions = [
                step(name, size, args.batch_size, chosen)
                for chosen in (0, small_map)
            ]
            own, products = turns(args.rounds, time.process_time, *functions)
            rows.append(
                (
                    f"`{name}`, {size} pixels",
                    spread(own, ".2f"),
                    spread(products, ".2f"),
                    spread(by_round(products, own), ".2f"),
                )
            )
    print(
        table(
            [
                "step",
                "TensorFlow, CPU s",
                "with products, CPU s",
                "ratio",
            ],
            rows,
        )
    )


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()
