"""Trains a recipe on CIFAR under several seeds: how good is it, how surely?

    python examples/measure/runs.py airbench94_muon --seeds 0-7 --gate 0.94
    python examples/measure/runs.py davidnet --set epochs=10 --output runs/short
    python examples/measure/runs.py cifar100_75 --seeds 0-4 --data cifar100.npz

A recipe of 100 classes is trained on CIFAR-100, any other on CIFAR-10.

Prints each seed's accuracy, their mean, standard deviation and range, the
mean's 95% interval, and the p-value against the gate, both by Student's t.  The
test set is evaluated once per seed, after the last epoch: plain, and averaged
over views.  Each seed leaves `seed-N.json`, all leave `summary.json`, and the
nets are in `nets`.  The same command continues where it was stopped, after the
last whole epoch.

The seconds are those of the epochs, compilation included.  For Linux.
"""

import argparse
import ast
import json
import os
import pathlib
import re

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import machine
from spread import print_report, summarize

from keras_davidnet import datasets, recipes

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
    parser.add_argument("--output", type=pathlib.Path, help="or runs/RECIPE")
    args = parser.parse_args()
    args.output = args.output or pathlib.Path("runs", args.recipe)
    return args


def run_seeds(recipe, seeds, train, test, folder) -> list[dict]:
    """Trains the nets that are not there yet; what each reached."""
    runs = recipe.fit_many(*train, seeds=seeds, folder=folder, verbose=2)
    accuracy = {
        views or "plain": runs.accuracy(*test, views=views) for views in VIEWS
    }
    return [
        {
            "seed": seed,
            "precision": recipe.net_arguments.get("dtype", "float32"),
            "accuracy": {name: float(accuracy[name][i]) for name in accuracy},
            "seconds": {"training": sum(history["seconds"])},
            "history": history,
            "versions": machine.versions(),
            "hardware": machine.hardware(keras.backend.backend()),
        }
        for i, (seed, history) in enumerate(
            zip(seeds, runs.histories, strict=True)
        )
    ]


def write(path: pathlib.Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1))


def load_data(recipe: recipes.Recipe, path: str | None) -> tuple:
    """CIFAR-100 for a recipe of 100 classes, otherwise CIFAR-10."""
    hundred = recipe.net_arguments.get("num_classes") == 100
    return (datasets.load_cifar100 if hundred else datasets.load_cifar10)(path)


def main():
    args = parse_arguments()
    recipe = recipes.get(args.recipe).replace(**dict(args.set))
    if args.precision:
        recipe = recipe.replace(dtype=args.precision)
    train, test = load_data(recipe, args.data)
    results = run_seeds(recipe, args.seeds, train, test, args.output / "nets")
    for result in results:
        write(args.output / f"seed-{result['seed']}.json", result)
    summary = {
        "recipe": args.recipe,
        "set": {name: str(value) for name, value in args.set},
        "seeds": args.seeds,
        "accuracy": {
            name: summarize([r["accuracy"][name] for r in results], args.gate)
            for name in results[0]["accuracy"]
        },
        "seconds": summarize([r["seconds"]["training"] for r in results]),
    }
    write(args.output / "summary.json", summary)
    print_report(results, summary["accuracy"])


if __name__ == "__main__":
    main()
