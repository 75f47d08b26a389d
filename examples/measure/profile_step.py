"""Prints where a training step's time goes, operation by operation, on CPU.

    python examples/measure/profile_step.py fit --width 16
    python examples/measure/profile_step.py PyTorch --width 16
    python examples/measure/profile_step.py "fit Airbench" --batch-size 2000

The first is `fit` on TensorFlow, the second the same net in plain PyTorch,
which needs the extra `torch`.  Operations that run side by side count each.
"""

import argparse
import collections
import os
import pathlib
import tempfile

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from benchmarking.cases import Case
from benchmarking.methods import METHODS

STEPS = 5


def profile_tensorflow(train) -> dict:
    """Seconds by type of operation."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            train()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    seconds = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # An operation's event is called "name of the node:type".
                name = plane.event_metadata[event.metadata_id].name
                _, colon, kind = name.rpartition(":")
                if colon and kind.isidentifier() and "::" not in name:
                    seconds[kind] += event.duration_ps / 1e12
    return seconds


def profile_pytorch(train) -> dict:
    """Seconds by type of operation, less those of what it calls."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        train()
    return {
        event.key: event.self_cpu_time_total / 1e6
        for event in profiler.key_averages()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=["fit", "fit Airbench", "PyTorch"])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--precision", default="float32")
    args = parser.parse_args()

    case = Case(
        args.method, "tensorflow", args.width, args.batch_size, args.precision
    )
    trainer = METHODS[args.method](case)
    rng = np.random.default_rng(0)
    n = STEPS * args.batch_size
    data = trainer.data(
        rng.integers(0, 256, (n, 32, 32, 3), "uint8"),
        rng.integers(0, 10, n, "int32"),
    )
    trainer.run(data)
    plain = args.method == "PyTorch"
    profile = profile_pytorch if plain else profile_tensorflow
    seconds = profile(lambda: trainer.run(data))
    whole = sum(seconds.values())
    print(
        f"\n{args.method}, width {args.width}, batch {args.batch_size}: "
        f"{whole / STEPS * 1e3:.0f} ms per step in all operations\n\n"
        "| operation | ms per step | share |\n| --- | --- | --- |"
    )
    for name, value in sorted(seconds.items(), key=lambda kv: -kv[1])[:15]:
        print(f"| {name} | {value / STEPS * 1e3:.1f} | {value / whole:.1%} |")


if __name__ == "__main__":
    main()
