"""Measures how fast DavidNet trains, beside what one would pick instead.

    python examples/measure/benchmark.py
    python examples/measure/benchmark.py --backends jax --widths 16

Each method has a process of its own, and those of one comparison take turns in
an order drawn anew for each round, so that whatever else the machine does falls
on all alike.  Backends and PyTorch are measured where they are installed, and
the nets beside a product of two large matrices: the share of the processor's
peak that they reach.  bfloat16 is measured too on a processor that computes in
it, and `predict` on the widest net.  Prints the tables, and writes
benchmark.json, benchmark.md and benchmark.png.  For Linux.
"""

import argparse
import dataclasses
import functools
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
BACKENDS = [
    name
    for name in ("tensorflow", "jax", "torch")
    if importlib.util.find_spec(name)
]
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
        choices=BACKENDS,
        default=BACKENDS,
    )
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument(
        "--airbench-batch", metavar="SIZE", type=int, default=2000
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds",
        type=float,
        # The beginning and end of `fit`, a tenth of a second, are 5% of it.
        default=2.0,
        help="that a round of a method takes at least, about; one step or more",
    )
    parser.add_argument("--output", type=pathlib.Path, default="runs/benchmark")
    return parser.parse_args()


def measure(cases, args) -> list[dict]:
    """Makes the nets one by one, then lets them take turns."""
    # All import at once.
    workers = [Worker(case, args.seconds) for case in cases]
    for case, worker in zip(cases, workers, strict=True):
        print("starting", case, file=sys.stderr, flush=True)
        worker.first_step()
    order = random.Random(0)
    for _ in range(args.rounds):
        for worker in order.sample(workers, len(workers)):
            worker.round()
    return [worker.close() for worker in workers]


def resident_memory(case) -> list[int]:
    """In bytes, after the third of 20 fits in one process, and each on."""
    worker = Worker(case, seconds=0)
    worker.first_step()
    resident = [worker.run(FIT_STEPS)["resident_bytes"] for _ in range(1, 20)]
    worker.close()
    return resident[1:]


def main():
    # Not above: every worker imports this file, and would hold matplotlib.
    from benchmarking import picture, report

    args = parse_arguments()
    begin = time.perf_counter()
    narrow, *wider = sorted(args.widths)
    first, *_ = args.backends

    def case(method, backend=first, width=narrow, batch=args.batch_size):
        return Case(method, backend, width, batch)

    def in_bfloat16(case):
        return dataclasses.replace(case, precision="mixed_bfloat16")

    # Others take minutes for a step.
    bfloat16 = {"avx512_bf16", "amx_bf16"} & set(machine.instructions())
    torch = importlib.util.find_spec("torch") is not None
    # On TensorFlow, whose product is the fastest.
    product = [Case("matrix product", "tensorflow", 1, batch=1)]
    if "tensorflow" not in BACKENDS:
        product = []
    cases = [case(w, b) for w in ("fit", "bare loop") for b in args.backends]
    if "jax" in args.backends:
        cases.append(case("plain JAX", "jax"))
    if torch:
        cases += [case(w, "torch") for w in ("PyTorch", "torch.compile")]
    cases += [case("fit", batch=batch) for batch in BATCHES]
    groups = [cases + product]
    for width in wider:
        cases = [case("fit", width=width)]
        if torch:
            cases.append(case("PyTorch", "torch", width))
        cases += product
        groups.append(
            cases
            + [
                in_bfloat16(c)
                for c in cases
                if bfloat16 and c.method in ("fit", "matrix product")
            ]
        )
    airbench = case("fit Airbench", width=64, batch=args.airbench_batch)
    cases = [airbench, *product]
    groups.append([in_bfloat16(c) for c in cases] if bfloat16 else cases)
    widest = functools.partial(case, width=max(args.widths))
    predictions = [widest("predict", backend) for backend in args.backends]
    if torch:
        predictions.append(widest("predict by PyTorch", "torch"))
    onnx = all(map(importlib.util.find_spec, ("onnxruntime", "tf2onnx")))
    if onnx and first == "tensorflow":
        predictions.append(widest("predict by ONNX Runtime"))
    comparisons = []
    for cases in groups:
        comparisons.append(measure(cases, args))
    results = {
        "comparisons": comparisons,
        # In a net so small that it does not hide them.
        "steps at once": measure(
            [
                case(method, backend, 1, batch=8)
                for method in ("fit", "fit, 16 steps at once", "bare loop")
                for backend in args.backends
                # Keras runs one step there.
                if method != "fit, 16 steps at once" or backend != "torch"
            ],
            args,
        ),
        "augmentation": measure(
            [
                case(method, width=1)
                for method in ("fit", "fit without augmentation")
            ],
            args,
        ),
        "pipeline": measure([case("pipeline alone")], args),
        "predict": measure(predictions, args),
        "resident_bytes": resident_memory(case("fit", batch=min(BATCHES))),
        "command": " ".join(["python", *sys.argv]),
        "seconds": time.perf_counter() - begin,
        "cores": len(os.sched_getaffinity(0)),
        "processor": machine.processor(),
    }
    tables = report.tables(results)
    print(tables)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "benchmark.json").write_text(json.dumps(results, indent=1))
    (args.output / "benchmark.md").write_text(tables + "\n")
    picture.save_picture(results, args.output / "benchmark.png")
    print("Wrote", *sorted(str(path) for path in args.output.iterdir()))


if __name__ == "__main__":
    main()
