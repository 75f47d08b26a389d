"""Kills a run again and again: does it end as if it had not been killed?

    python examples/measure/kill_and_resume.py --data cifar10.npz

Trains on CIFAR-10 by `train_cifar10.py`, once whole, and once killed (SIGKILL)
ten times and resumed by `--resume`: within a save, right after one, and at a
random moment after the start, in turn.  Then compares all that the two left,
bit by bit: weights, velocities, random states, steps and history.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np

TRAIN = pathlib.Path(__file__).parents[1] / "train_cifar10.py"


def start(*flags):
    return subprocess.Popen(
        [sys.executable, TRAIN, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run(*flags) -> float:
    """Seconds that a run took, to its end."""
    begin = time.perf_counter()
    if code := start(*flags).wait():
        sys.exit(f"the training failed: {code}")
    return time.perf_counter() - begin


def kill(process, moment, state, seconds) -> None:
    unfinished = state.with_name(state.name + ".unfinished")
    before = os.path.exists(state) and os.stat(state).st_mtime_ns
    begin = time.perf_counter()
    while process.poll() is None:
        time.sleep(0.0005)
        if moment == "in a save" and unfinished.exists():
            break
        if moment == "after a save" and state.exists():
            if os.stat(state).st_mtime_ns != before:
                break
        if moment == "any" and time.perf_counter() - begin > seconds:
            break
    if process.poll() is not None:
        sys.exit("the training ended before its kill: give it more epochs")
    process.kill()
    process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="path of CIFAR-10")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--output", type=pathlib.Path, default="runs/killed")
    args = parser.parse_args()
    shutil.rmtree(args.output, ignore_errors=True)

    flags = ["--data", args.data, "--width", "1", "--epochs", str(args.epochs)]
    whole, killed = args.output / "whole", args.output / "killed"
    seconds = run(*flags, "--output", whole)
    print(f"whole: {seconds:.0f} s", flush=True)

    draw = random.Random(0)
    flags = [*flags, "--output", killed]
    for i in range(args.kills):
        moment = ("in a save", "after a save", "any")[i % 3]
        delay = draw.uniform(0, 2 * seconds / args.epochs)
        kill(start(*flags), moment, killed / "state.npz", delay)
        print("killed", f"{delay:.1f} s" if moment == "any" else moment)
        flags = ["--resume", killed]
    run(*flags)

    with (
        np.load(whole / "state.npz") as one,
        np.load(killed / "state.npz") as other,
    ):
        different = [n for n in one if (one[n] != other[n]).any()]
        print(f"{len(one.files)} arrays, {len(different)} of them differ")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
