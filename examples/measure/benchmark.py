"""Measures how fast DavidNet trains, beside what one would pick instead.

    python examples/measure/benchmark.py
    python examples/measure/benchmark.py --backends tensorflow jax --widths 16

Each way to train has a process of its own, and those of one comparison take
turns in an order drawn anew for each round, so that whatever else the machine
does falls on all alike.  PyTorch is measured where it is installed.  Prints
tables, and writes benchmark.json and benchmark.png.  For Linux.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import random
import sys
import time

import machine
from benchmarking.cases import Case
from benchmarking.worker import Worker

BATCHES = (128, 2048)
# Of each of the fits whose memory is watched.
FIT_STEPS = 8


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=["tensorflow", "jax", "torch"],
        default=[os.environ.get("KERAS_BACKEND", "tensorflow")],
    )
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument(
        "--precision",
        choices=["float32", "mixed_bfloat16"],
        default="float32",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds",
        type=float,
        # The beginning and end of `fit`, a tenth of a second, are 3% of it.
        default=4.0,
        help="that a round of one way takes at least about, one step or more",
    )
    parser.add_argument("--output", type=pathlib.Path, default="runs/benchmark")
    return parser.parse_args()


def measure(cases, args) -> list[dict]:
    """Starts the workers one by one, then lets them take turns."""
    workers = []
    for case in cases:
        print("starting", case, file=sys.stderr, flush=True)
        workers.append(Worker(case, args.seconds))
    order = random.Random(0)
    for _ in range(args.rounds):
        for worker in order.sample(workers, len(workers)):
            worker.round()
    return [worker.close() for worker in workers]


def resident_memory(case) -> list[int]:
    """In bytes, after the third of 20 fits in one process, and each on."""
    worker = Worker(case, seconds=0)
    # It has made the first.
    resident = [worker.run(FIT_STEPS)["resident_bytes"] for _ in range(1, 20)]
    worker.close()
    return resident[1:]


def main():
    # Not above: every worker imports this file, and would hold matplotlib.
    from benchmarking import report

    args = parse_arguments()
    begin = time.perf_counter()
    narrow, *wider = sorted(args.widths)
    backend = args.backends[0]

    def case(way, backend, width=narrow, batch=args.batch_size):
        return Case(way, backend, width, batch, args.precision)

    torch = importlib.util.find_spec("torch") is not None
    comparisons = []
    for width in (narrow, *wider):
        cases = [case("fit", b, width) for b in args.backends]
        if torch:
            cases.append(case("PyTorch", "torch", width))
        # Fixed costs show most in the narrowest net, and it takes least time.
        if width == narrow:
            cases += [case("bare loop", b) for b in args.backends]
            if torch:
                cases.append(case("torch.compile", "torch"))
            cases += [
                case("fit", backend, batch=batch)
                for batch in BATCHES
                if batch != args.batch_size
            ]
        comparisons.append(measure(cases, args))
        report.print_comparison(comparisons[-1])
    results = {
        "comparisons": comparisons,
        # In a net so small that it does not hide them.
        "augmentation": measure(
            [
                case(way, backend, width=1)
                for way in ("fit", "fit without augmentation")
            ],
            args,
        ),
        "pipeline": measure([case("pipeline alone", backend)], args),
        "resident_bytes": resident_memory(
            case("fit", backend, batch=min(BATCHES))
        ),
        "command": " ".join(["python", *sys.argv]),
        "seconds": time.perf_counter() - begin,
        "cores": len(os.sched_getaffinity(0)),
        "processor": machine.processor(),
    }
    report.print_rest(results)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "benchmark.json").write_text(json.dumps(results, indent=1))
    report.save_picture(results, args.output / "benchmark.png")
    print("Wrote", *sorted(str(path) for path in args.output.iterdir()))


if __name__ == "__main__":
    main()
