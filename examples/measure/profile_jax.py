"""Prints where the time of `fit` is spent on a GPU, by kernel, on JAX.

    python examples/measure/profile_jax.py --width 64 --output runs/profile.json

Writes the seconds of each kind of kernel, of all of them, and of the wall.
"""

import argparse
import collections
import contextlib
import gzip
import json
import os
import pathlib
import re
import tempfile
import time

os.environ["KERAS_BACKEND"] = "jax"

import jax
import numpy as np
from benchmarking.cases import Case
from benchmarking.trainers import Fit

STEPS = 50


def trace(train) -> tuple[list[dict], float]:
    """The profiler's events, and the seconds by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            begin = time.perf_counter()
            train()
            seconds = time.perf_counter() - begin
        (path,) = pathlib.Path(folder).rglob("perfetto_trace.json.gz")
        trace = json.loads(gzip.decompress(path.read_bytes()))
    return trace["traceEvents"], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    case = Case("fit", "jax", args.width, precision=args.precision)
    fit = Fit(case)
    rng, n = np.random.default_rng(0), STEPS * case.batch
    data = fit.data(
        rng.integers(0, 256, (n, 32, 32, 3), "uint8"),
        rng.integers(0, 10, n, "int32"),
    )
    # No progress bar.
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        fit.run(data)
        events, wall = trace(lambda: fit.run(data))
    devices = {
        e["pid"]
        for e in events
        if e.get("name") == "process_name"
        and "GPU" in e.get("args", {}).get("name", "")
    }
    # Lines of the device: only its streams hold kernels.
    streams = {
        (e["pid"], e["tid"])
        for e in events
        if e.get("name") == "thread_name"
        and e["pid"] in devices
        and "Stream" in e.get("args", {}).get("name", "")
    }
    seconds, count = collections.Counter(), collections.Counter()
    for event in events:
        if event.get("ph") == "X" and (event["pid"], event["tid"]) in streams:
            kind = re.sub(r"[._]?\d+", "", event["name"])
            seconds[kind] += event["dur"] / 1e6
            count[kind] += 1
    result = {
        "device": jax.devices()[0].device_kind,
        "steps": STEPS,
        "batch": case.batch,
        "width": args.width,
        "precision": args.precision,
        "wall_s": wall,
        "kernels_s": sum(seconds.values()),
        "by_kernel": [
            {"kernel": kind, "seconds": s, "launches": count[kind]}
            for kind, s in seconds.most_common(40)
        ],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1))
    print(f"wall {wall:.3f} s, kernels {result['kernels_s']:.3f} s")
    for entry in result["by_kernel"][:20]:
        kernel = entry["kernel"][:60]
        print(f"{entry['seconds']:8.4f} s {entry['launches']:6d} {kernel}")


if __name__ == "__main__":
    main()
