"""Trains DavidNet on every device of one machine or of several.

On one machine, with TensorFlow or JAX, one command uses all of its devices:

    python examples/train_distributed.py

On several machines, with JAX (KERAS_BACKEND=jax in the environment), start one
process on each, here two; the address is that of process 0:

    python examples/train_distributed.py --coordinator 10.0.0.1:1234 \
        --processes 2 --process 0
    python examples/train_distributed.py --coordinator 10.0.0.1:1234 \
        --processes 2 --process 1

All processes train the same model on the batches of a single device.  The data
are scikit-learn's digits, or CIFAR-10 from the path given with --data.
"""

import argparse
import os
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import numpy as np
import sklearn.datasets

from keras_davidnet import DavidNet, RandomPadCrop, datasets, optimizers


def load_digits():
    """Digits as uint8 images of shape (n, 32, 32, 3), a fifth held out."""
    digits = sklearn.datasets.load_digits()
    images = (digits.images * 255 / 16).astype("uint8")
    images = images.repeat(4, axis=1).repeat(4, axis=2)
    images = np.stack([images] * 3, axis=-1)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = np.split(order, [len(order) * 4 // 5])
    return (
        (images[train], digits.target[train]),
        (images[test], digits.target[test]),
    )


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="path of CIFAR-10 (default: digits)")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument(
        "--batch-size", type=int, default=64, help="over all devices"
    )
    parser.add_argument("--coordinator", help="host:port of process 0")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0, help="this one's")
    args = parser.parse_args()
    backend = keras.backend.backend()
    if backend == "torch":
        parser.error(
            "Keras does not distribute on PyTorch; set KERAS_BACKEND=jax"
        )
    if backend == "tensorflow" and args.processes > 1:
        parser.error("several processes need KERAS_BACKEND=jax")
    return args


def all_devices(args):
    """Returns the scope for the model, and the number of devices."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy()
        return strategy.scope(), strategy.num_replicas_in_sync
    if args.processes > 1:
        # This must come before anything else that uses JAX.
        keras.distribution.initialize(
            args.coordinator, args.processes, args.process
        )
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    return distribution.scope(), distribution.device_mesh.devices.size


def main():
    args = parse_arguments()
    # Every process needs the same initial weights and data order.
    keras.utils.set_random_seed(0)
    scope, devices = all_devices(args)

    (x_train, y_train), (x_test, y_test) = (
        datasets.load_cifar10(args.data) if args.data else load_digits()
    )
    # Devices need equal parts of every batch, also of the last test batch.
    tested = len(x_test) // devices * devices

    shard = args.processes, args.process
    train_ds = datasets.make_dataset(
        x_train, y_train, args.batch_size, training=True, seed=0
    ).shard(*shard)
    test_ds = datasets.make_dataset(
        x_test[:tested], y_test[:tested], args.batch_size
    ).shard(*shard)

    # Call fit in the scope too: on JAX, processes that call it outside silently
    # train separate models.
    with scope:
        model = DavidNet(
            width=args.width,
            mean=x_train.mean((0, 1, 2)) / 255,
            std=x_train.std((0, 1, 2)) / 255,
            # The mirror image of a digit is not a digit.
            augmentation="crop_flip" if args.data else RandomPadCrop(4),
        )
        model.compile(
            optimizers.davidnet_optimizer(
                len(train_ds),
                args.epochs,
                peak_learning_rate=0.4 if args.data else 0.2,
            )
        )
        start = time.perf_counter()
        history = model.fit(
            train_ds,
            epochs=args.epochs,
            validation_data=test_ds,
            verbose=2 if args.process == 0 else 0,
        ).history
        seconds = time.perf_counter() - start
    if args.process == 0:
        print(
            f"\nReached {history['val_accuracy'][-1]:.2%} on {tested} test "
            f"images, test loss {history['val_loss'][-1]:.6f}, in "
            f"{seconds:.0f} s on {devices} devices of {args.processes} "
            "processes."
        )


if __name__ == "__main__":
    main()
