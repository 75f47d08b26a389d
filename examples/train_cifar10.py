"""Trains DavidNet on CIFAR-10 as its recipe does.

    python examples/train_cifar10.py                       # downloads CIFAR-10
    python examples/train_cifar10.py --data cifar10.npz --width 16 --epochs 5

The rate rises over the first fifth of the epochs and falls to zero at the end;
its peak, momentum and decay are the recipe's at any width and length.  Choose
the backend with the environment variable KERAS_BACKEND.
"""

import argparse
import json
import os
import pathlib
import time

# Twice the speed on processors without AVX-512, where TensorFlow's default is
# off; it is read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from curves import save_curves

from keras_davidnet import DavidNet, DecoupledWeightDecay, datasets, recipes


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
    parser.add_argument(
        "--precision",
        choices=["float32", "mixed_float16", "mixed_bfloat16"],
        default="float32",
    )
    parser.add_argument(
        "--decoupled-weight-decay",
        type=float,
        help="decay apart from gradient and velocity, 5e-3 for one; without "
        "it, the recipe's coupled decay",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default="runs/cifar10")
    return parser.parse_args()


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
        optimizer=recipes.davidnet_optimizer(len(train_ds), args.epochs)
    )
    callbacks = []
    if args.decoupled_weight_decay is not None:
        callbacks.append(DecoupledWeightDecay(args.decoupled_weight_decay))
    model.summary()
    args.output.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    history = model.fit(
        train_ds,
        epochs=args.epochs,
        validation_data=test_ds,
        callbacks=callbacks,
        shuffle=False,  # train_ds shuffles itself
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


if __name__ == "__main__":
    main()
