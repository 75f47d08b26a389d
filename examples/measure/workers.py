"""Do two workers take less time than one run after another?

    python examples/measure/workers.py

Trains the same `DavidNet`s on noise by `fit_many` in this process, and by a
pool of workers: with all threads each, and with a share of the cores.  Takes
turns, and prints the seconds of each round, the start of the workers included:
of the clock, and of the processors, which other programs disturb less.  For
Linux.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import resource
import tempfile
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from keras_davidnet import recipes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--images", type=int, default=10_240)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (args.images, 32, 32, 3), "uint8")
    y = rng.integers(0, 10, args.images)
    recipe = recipes.get("davidnet").replace(
        width=args.width, epochs=args.epochs
    )
    share = max(1, (os.cpu_count() or 1) // args.workers)
    cases = {
        "one after another": None,
        f"{args.workers} workers, all threads": {},
        f"{args.workers} workers, threads={share}": {"threads": share},
    }
    seconds = {case: [] for case in cases}
    for _ in range(args.rounds):
        for case, arguments in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds[case].append(
                    timed(recipe, x, y, args.workers, folder, arguments)
                )
    print("| case | seconds | seconds of the processors |\n| --- | --- | --- |")
    for case, values in seconds.items():
        columns = [
            ", ".join(f"{value:.1f}" for value in column)
            for column in zip(*values, strict=True)
        ]
        print("|", " | ".join([case, *columns]), "|")


def processor_seconds() -> float:
    """Of this process and of those that it started and that are done."""
    used = map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(recipe, x, y, workers, folder, arguments) -> tuple[float, float]:
    """Seconds of two runs for each worker, or of as many in this process."""
    fit = {"seeds": range(2 * workers), "folder": folder, "verbose": 0}
    begin, used = time.perf_counter(), processor_seconds()
    if arguments is None:
        recipe.fit_many(x, y, **fit)
    else:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=context
        ) as executor:
            recipe.fit_many(x, y, executor=executor, **fit, **arguments)
    return time.perf_counter() - begin, processor_seconds() - used


if __name__ == "__main__":
    main()
