"""Trains a recipe on CIFAR under several seeds: how good is it, how surely?

    python examples/measure/runs.py airbench94_muon --seeds 0-7 --gate 0.94
    python examples/measure/runs.py davidnet --set epochs=10 --output runs/short
    python examples/measure/runs.py cifar100_75 --seeds 0-4 --data cifar100.npz

A recipe of 100 classes is trained on CIFAR-100, any other on CIFAR-10.

Prints each seed's accuracy, their mean, standard deviation and range, the
mean's 95% interval, and the p-value against the gate, both by Student's t.  The
test set is evaluated once per seed, after the last epoch: plain, and averaged
over views.  Each seed leaves `seed-N.json`, with --save the net beside it, and
all leave `summary.json`.  The same command continues where it was stopped,
after the last whole epoch.

Set-up is the time until the first epoch, with the whitening; training that of
the epochs, compilation included; evaluation that of all views.  For Linux.
"""

import argparse
import ast
import json
import os
import pathlib
import re
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import machine
from spread import print_report, summarize

import keras_davidnet
from keras_davidnet import Resume, datasets, recipes

VIEWS = (None, "mirror", "mirror_translate")


def seeds(text: str) -> list[int]:
    """`"0-2,7"` is 0, 1, 2 and 7."""
    numbers = set()
    for part in text.split(","):
        if not re.fullmatch(r"\d+(-\d+)?", part):
            raise argparse.ArgumentTypeError(
                f"must be like 0-7 or 0,2,4. Received: {text!r}"
            )
        first, *last = map(int, part.split("-"))
        numbers.update(range(first, (last or [first])[0] + 1))
    if not numbers:
        raise argparse.ArgumentTypeError(f"holds no seed. Received: {text!r}")
    return sorted(numbers)


def change(text: str) -> tuple:
    """`"epochs=10"` is `("epochs", 10)`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"must be like epochs=10. Received: {text!r}"
        )
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("recipe", choices=recipes.names())
    parser.add_argument(
        "--data", help="path of the images; without it, they are downloaded"
    )
    parser.add_argument("--seeds", type=seeds, default="0-7")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        nargs="+",
        type=change,
        default=[],
        help="what Recipe.replace() changes",
    )
    parser.add_argument(
        "--precision", help="or that of the recipe, as mixed_bfloat16"
    )
    parser.add_argument("--gate", type=float, help="the mean to beat, as 0.94")
    parser.add_argument(
        "--save",
        action="store_true",
        help="keep the nets in float32, without optimizer, as seed-N.keras",
    )
    parser.add_argument("--output", type=pathlib.Path, help="or runs/RECIPE")
    args = parser.parse_args()
    args.output = args.output or pathlib.Path("runs", args.recipe)
    return args


class Timer(keras.callbacks.Callback):
    """Adds the seconds of each epoch to its logs, so `Resume` keeps them."""

    def on_train_begin(self, logs=None):
        self.begin = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs):
        logs["seconds"] = time.perf_counter() - self.epoch_begin


def run(recipe, seed: int, train, test, path, save) -> dict:
    """Trains once and measures; continues from a state beside `path`."""
    keras.backend.clear_session()
    timer = Timer()
    begin = time.perf_counter()
    model = recipe.fit(
        *train,
        seed=seed,
        callbacks=[timer, Resume(path.with_suffix(".npz"))],
        verbose=2,
    )
    if save:
        copy(model, dtype="float32").save(path.with_suffix(".keras"))
    history = model.history.history
    evaluation_begin = time.perf_counter()
    accuracy, loss = accuracy_by_views(model, test)
    return {
        "seed": seed,
        "precision": model.dtype_policy.name,
        "accuracy": accuracy,
        "loss": loss,
        "seconds": {
            "set-up": timer.begin - begin,
            "training": sum(history["seconds"]),
            "evaluation": time.perf_counter() - evaluation_begin,
        },
        "history": history,
        "versions": machine.versions(),
        "hardware": machine.hardware(keras.backend.backend()),
    }


def kept_run(label, recipe, seed, train, test, path, save) -> dict:
    """What `path` holds of this run, after it if need be."""
    if not path.exists():
        print(label, flush=True)
        write(path, run(recipe, seed, train, test, path, save))
        path.with_suffix(".npz").unlink()
    return json.loads(path.read_text())


def accuracy_by_views(model, test) -> tuple[dict, dict]:
    """Accuracy and loss on the test set, by the views that are averaged."""
    accuracy, loss = {}, {}
    for views in VIEWS:
        net = copy(model, views=views)
        net.compile()
        logs = net.evaluate(*test, batch_size=1000, verbose=0, return_dict=True)
        name = views or "plain"
        accuracy[name], loss[name] = logs["accuracy"], logs["loss"]
    return accuracy, loss


def copy(model, **changes):
    """A net of the same weights, not compiled."""
    net = type(model).from_config({**model.get_config(), **changes})
    net.set_weights(model.get_weights())
    return net


def write(path: pathlib.Path, content: dict) -> None:
    """Writes JSON that is there whole or not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.replace(path)


def check_settings(path: pathlib.Path, settings: dict) -> None:
    """Keeps runs of other settings from being taken for these."""
    if path.exists() and (found := json.loads(path.read_text())) != settings:
        raise SystemExit(
            f"{path.parent} holds runs of other settings, {found}: give "
            f"another --output. Received: {settings}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, settings)


def load_data(recipe: recipes.Recipe, path: str | None) -> tuple:
    """CIFAR-100 for a recipe of 100 classes, otherwise CIFAR-10."""
    hundred = recipe.net_arguments.get("num_classes") == 100
    return (datasets.load_cifar100 if hundred else datasets.load_cifar10)(path)


def main():
    args = parse_arguments()
    recipe = recipes.get(args.recipe).replace(**dict(args.set))
    if args.precision:
        recipe = recipe.replace(dtype=args.precision)
    settings = {
        "recipe": args.recipe,
        "set": {name: str(value) for name, value in args.set},
        "precision": recipe.net_arguments.get("dtype", "float32"),
        "backend": keras.backend.backend(),
        "version": keras_davidnet.__version__,
    }
    check_settings(args.output / "settings.json", settings)
    train, test = load_data(recipe, args.data)
    results = []
    for seed in args.seeds:
        path = args.output / f"seed-{seed}.json"
        label = f"seed {seed}"
        results.append(
            kept_run(label, recipe, seed, train, test, path, args.save)
        )
    summary = {
        "settings": settings,
        "seeds": args.seeds,
        "accuracy": {
            name: summarize([r["accuracy"][name] for r in results], args.gate)
            for name in results[0]["accuracy"]
        },
        "seconds": {
            part: summarize([r["seconds"][part] for r in results])
            for part in results[0]["seconds"]
        },
    }
    write(args.output / "summary.json", summary)
    print_report(results, summary["accuracy"])


if __name__ == "__main__":
    main()
