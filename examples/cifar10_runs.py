"""Flags and report of a run on CIFAR-10; shared by the examples."""

import argparse
import json
import pathlib

from curves import save_curves


def make_parser(description: str, output: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", help="path of CIFAR-10; without it, it is downloaded"
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=output)
    return parser


def save_report(args, versions: dict, seconds: float, history: dict) -> None:
    """Writes history.json and curves.png to the folder `args.output`."""
    save_curves(history, args.output / "curves.png")
    report = {
        **versions,
        "seconds": seconds,
        **{name: str(value) for name, value in vars(args).items()},
        **history,
    }
    (args.output / "history.json").write_text(json.dumps(report, indent=1))
    print(
        f"\nTest accuracy {history['val_accuracy'][-1]:.2%}, test loss "
        f"{history['val_loss'][-1]:.4f}, after {args.epochs} epochs in "
        f"{seconds:.0f} s, evaluation included."
    )
    print("Wrote", *sorted(str(path) for path in args.output.iterdir()))
