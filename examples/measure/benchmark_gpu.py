"""Measures on one GPU what `benchmark.py` measures, in five minutes.

    python examples/measure/benchmark_gpu.py --output runs/benchmark-gpu.json

In turns and in mixed_bfloat16: `fit` on JAX, a bare loop in JAX, plain PyTorch
and `torch.compile`.  `fit` of a net of width 1 tells what the host takes for a
step.  Where a GPU costs by the minute, this is the part to run.
"""

import argparse
import json
import pathlib
import sys

import machine
from benchmark import measure
from benchmarking.cases import Case


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    cases = [
        Case(method, backend, width, precision="mixed_bfloat16")
        for method, backend, width in (
            ("fit", "jax", 64),
            ("bare loop", "jax", 64),
            ("PyTorch", "torch", 64),
            ("torch.compile", "torch", 64),
            ("fit", "jax", 1),
            ("fit", "torch", 64),
        )
    ]
    results = {
        "comparison": measure(cases, args),
        "command": " ".join(["python", *sys.argv]),
        "processor": machine.processor(),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1))
    for case in results["comparison"]:
        rates = sorted(round(r["images_per_s"]) for r in case["rounds"])
        print(
            case["method"],
            case["backend"],
            case["width"],
            rates,
            "images/s,",
            f"first step {case['first_step_s']:.0f} s",
        )


if __name__ == "__main__":
    main()
