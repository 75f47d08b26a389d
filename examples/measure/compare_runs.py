"""Compares runs: a table in Markdown, a picture and one JSON file.

    python examples/measure/compare_runs.py runs/keras-0 runs/pytorch-0

Each folder is one that `train_cifar10.py` or `train_pytorch.py` wrote; runs of
one kind are called alike but for a number at the end, their seed.
"""

import argparse
import json
import pathlib

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument(
        "--output", default="runs/comparison", help="without a suffix"
    )
    return parser.parse_args()


def main():
    args = parse_arguments()
    kinds = {}
    for run in args.runs:
        kind, _, seed = run.name.rpartition("-")
        report = json.loads((run / "history.json").read_text())
        kinds.setdefault(kind, {})[seed] = report

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    print("| run | seed | test accuracy after each epoch, % | test loss |")
    print("| --- | --- | --- | --- |")
    for i, (kind, reports) in enumerate(kinds.items()):
        accuracy = np.array([r["val_accuracy"] for r in reports.values()]) * 100
        loss = np.array([r["val_loss"] for r in reports.values()])
        rows = [*zip(reports, accuracy, loss[:, -1], strict=True)]
        rows.append(("mean", accuracy.mean(0), loss[:, -1].mean()))
        for seed, values, last in rows:
            cells = ", ".join(f"{value:.2f}" for value in values)
            print(f"| {kind} | {seed} | {cells} | {last:.4f} |")
        epochs = range(1, accuracy.shape[1] + 1)
        for axis, values in zip(axes, (accuracy, loss), strict=True):
            axis.plot(epochs, values.T, color=f"C{i}", alpha=0.3)
            axis.plot(epochs, values.mean(0), color=f"C{i}", label=kind)
    for axis, title in zip(
        axes, ("test accuracy, %", "test loss"), strict=True
    ):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(f"{args.output}.png", dpi=120)
    pathlib.Path(f"{args.output}.json").write_text(json.dumps(kinds, indent=1))


if __name__ == "__main__":
    main()
