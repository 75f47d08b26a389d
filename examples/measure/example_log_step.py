"""How much longer does a training step take with ExampleLog?

    python examples/measure/example_log_step.py --width 16

Steps with it and without it take turns.  Prints the median of each, and the
median and the quartiles of the ratios of the rounds.
"""

import argparse
import os
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_davidnet import DavidNet, ExampleLog
from keras_davidnet.datasets import make_dataset


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=2, help="of each turn")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (args.images, 32, 32, 3), "uint8")
    y = rng.integers(0, 10, args.images)
    data = make_dataset(x, y, args.batch_size, training=True, seed=0)
    models = [DavidNet(width=args.width) for _ in range(2)]
    for model in models:
        model.compile(keras.optimizers.SGD(0.1))
    # As `fit` does it.
    log = ExampleLog()
    log.on_data(data, None, [log])
    log.set_params({"epochs": 1})
    log.set_model(models[1])
    log.on_train_begin()
    log.on_epoch_begin(0)
    batch = data[0]
    seconds = np.empty((args.rounds + 1, 2))
    for round_, row in enumerate(seconds):
        # Neither is always the first.
        for index in (0, 1) if round_ % 2 else (1, 0):
            models[index].reset_metrics()
            begin = time.perf_counter()
            for _ in range(args.steps):
                models[index].train_on_batch(*batch)
            row[index] = (time.perf_counter() - begin) / args.steps
    seconds = seconds[1:]  # The first one compiles.
    without, with_log = 1000 * np.median(seconds, axis=0)
    low, median, high = np.percentile(
        seconds[:, 1] / seconds[:, 0], [25, 50, 75]
    )
    print(
        f"without {without:.1f} ms, with ExampleLog {with_log:.1f} ms, "
        f"ratio {median:.3f} ({low:.3f} to {high:.3f})"
    )


if __name__ == "__main__":
    main()
