"""Trains DavidNet on CIFAR-10 as its recipe does.

    python examples/train_cifar10.py                       # downloads CIFAR-10
    python examples/train_cifar10.py --data cifar10.npz --width 16 --epochs 5
    python examples/train_cifar10.py --resume runs/cifar10       # after a crash

The learning rate rises over the first fifth of the epochs and falls to zero at
the end.  Its peak, the momentum and the weight decay are the recipe's for any
width and number of epochs.  Choose the backend with the environment variable
KERAS_BACKEND.
"""

import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import matplotlib.pyplot as plt

from keras_davidnet import (
    DavidNet,
    DecoupledWeightDecay,
    Resume,
    datasets,
    optimizers,
)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", help="path of CIFAR-10; without it, it is downloaded"
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default="runs/cifar10")
    parser.add_argument(
        "--precision",
        choices=["float32", "mixed_float16", "mixed_bfloat16"],
        default="float32",
    )
    parser.add_argument(
        "--decoupled-weight-decay",
        type=float,
        help="for example 5e-3; without it, the recipe's coupled weight decay",
    )
    parser.add_argument(
        "--resume",
        metavar="DIR",
        type=pathlib.Path,
        help="the output of an interrupted run, which continues after its last "
        "complete epoch, with the flags of that run",
    )
    args = parser.parse_args()
    if args.resume is None:
        args.output.mkdir(parents=True, exist_ok=True)
        # Of a run that was interrupted they stay, for `--resume`.
        if not (args.output / "state.npz").exists():
            (args.output / "flags.json").write_text(json.dumps(sys.argv[1:]))
        return args
    try:
        flags = json.loads((args.resume / "flags.json").read_text())
    except (OSError, ValueError) as error:
        parser.error(f"--resume must be the output of a run: {error}")
    return parser.parse_args([*flags, "--output", str(args.resume)])


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    (x_train, y_train), (x_test, y_test) = datasets.load_cifar10(args.data)
    train_ds = datasets.make_dataset(
        x_train, y_train, args.batch_size, training=True, seed=args.seed
    )
    test_ds = datasets.make_dataset(x_test, y_test, batch_size=1000)

    model = DavidNet(width=args.width, dtype=args.precision)
    model.compile(
        optimizer=optimizers.davidnet_optimizer(len(train_ds), args.epochs)
    )
    callbacks = [Resume(args.output / "state.npz", train_ds)]
    if args.decoupled_weight_decay is not None:
        callbacks.append(DecoupledWeightDecay(args.decoupled_weight_decay))
    model.summary()

    start = time.perf_counter()
    history = model.fit(
        train_ds,
        epochs=args.epochs,
        validation_data=test_ds,
        callbacks=callbacks,
    ).history
    seconds = time.perf_counter() - start

    model.save(args.output / "model.keras")
    save_curves(history, args.output / "curves.png")
    report = {
        "backend": keras.backend.backend(),
        "keras": keras.version(),
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


def save_curves(history, path):
    """Plots loss, accuracy and learning rate by epoch."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    for axis, name in zip(
        axes, ("loss", "accuracy", "learning_rate"), strict=True
    ):
        axis.plot(epochs, history[name], marker="o", label="training")
        if f"val_{name}" in history:
            axis.plot(epochs, history[f"val_{name}"], marker="o", label="test")
            axis.legend()
        axis.set(title=name.replace("_", " "), xlabel="epoch")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
