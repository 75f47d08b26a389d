"""Trains DavidNet on every device of one machine or of several.

On one machine, with TensorFlow or JAX, one command uses all of its devices:

    python examples/train_distributed.py

On several, with JAX (KERAS_BACKEND=jax in the environment), start one process
on each, here two; the address is that of process 0:

    python examples/train_distributed.py --coordinator 10.0.0.1:1234 \
        --processes 2 --process 0
    python examples/train_distributed.py --coordinator 10.0.0.1:1234 \
        --processes 2 --process 1

All train one net, on the batches that one device alone would see.  The data
are scikit-learn's digits, or CIFAR-10 from the path given with --data.
"""

import argparse
import os
import time

# Twice the speed on processors without AVX-512, where TensorFlow's default is
# off; it is read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from quickstart import load

from keras_davidnet import DavidNet, RandomPadCrop, datasets, recipes


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="path of CIFAR-10 (default: digits)")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument(
        "--batch-size", type=int, default=64, help="of all devices together"
    )
    parser.add_argument("--coordinator", help="host:port of process 0")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0, help="this one's")
    args = parser.parse_args()
    backend = keras.backend.backend()
    if backend == "torch":
        parser.error("Keras distributes nothing on torch; KERAS_BACKEND=jax")
    if backend == "tensorflow" and args.processes > 1:
        parser.error("several processes need KERAS_BACKEND=jax")
    return args


def all_devices(args):
    """The scope to make the model in, and how many devices train it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy()
        return strategy.scope(), strategy.num_replicas_in_sync
    if args.processes > 1:
        # Before anything else is asked of JAX.
        keras.distribution.initialize(
            args.coordinator, args.processes, args.process
        )
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    return distribution.scope(), distribution.device_mesh.devices.size


def main():
    args = parse_arguments()
    # Every process starts from the same weights and shuffles alike.
    keras.utils.set_random_seed(0)
    scope, devices = all_devices(args)

    (x_train, y_train), (x_test, y_test) = (
        datasets.load_cifar10(args.data) if args.data else load()
    )
    # Devices get equal shares of every batch, of the last of the test too.
    tested = len(x_test) // devices * devices

    shard = args.processes, args.process
    train_ds = datasets.make_dataset(
        x_train, y_train, args.batch_size, training=True, seed=0
    ).shard(*shard)
    test_ds = datasets.make_dataset(
        x_test[:tested], y_test[:tested], args.batch_size
    ).shard(*shard)

    # The whole training belongs in the scope: on JAX, processes that call fit
    # outside of it silently train separate models.
    with scope:
        model = DavidNet(
            width=args.width,
            mean=x_train.mean((0, 1, 2)) / 255,
            std=x_train.std((0, 1, 2)) / 255,
            # Digits are not to be flipped.
            augmentation="crop_flip" if args.data else RandomPadCrop(4),
        )
        model.compile(
            recipes.davidnet_optimizer(
                len(train_ds), args.epochs, peak=0.4 if args.data else 0.2
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
