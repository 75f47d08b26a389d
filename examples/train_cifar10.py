"""Trains DavidNet on CIFAR-10 as its recipe does.

    python examples/train_cifar10.py                       # downloads CIFAR-10
    python examples/train_cifar10.py --data cifar10.npz --width 16 --epochs 5
    python examples/train_cifar10.py --resume runs/cifar10       # after a crash

The rate rises over the first fifth of the epochs and falls to zero at the end;
its peak, momentum and decay are the recipe's at any width and length.  Choose
the backend with the environment variable KERAS_BACKEND.
"""

import json
import os
import pathlib
import sys
import time

# Twice the speed on processors without AVX-512, where TensorFlow's default is
# off; it is read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from cifar10_runs import make_parser, save_report

from keras_davidnet import (
    DavidNet,
    DecoupledWeightDecay,
    Resume,
    datasets,
    recipes,
)


def parse_arguments():
    parser = make_parser(__doc__.splitlines()[0], output="runs/cifar10")
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
    parser.add_argument(
        "--resume",
        metavar="DIR",
        type=pathlib.Path,
        help="the output of an interrupted run, which continues after its last "
        "whole epoch, under the flags that it had",
    )
    args = parser.parse_args()
    if args.resume is None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "flags.json").write_text(json.dumps(sys.argv[1:]))
        (args.output / "state.npz").unlink(missing_ok=True)
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
        optimizer=recipes.davidnet_optimizer(len(train_ds), args.epochs)
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
    versions = {"backend": keras.backend.backend(), "keras": keras.version()}
    save_report(args, versions, seconds, history)


if __name__ == "__main__":
    main()
