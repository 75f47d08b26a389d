"""Puts a net that runs.py trained among the package's presets.

    python examples/measure/make_preset.py runs/airbench94_muon 8

Writes NAME.keras, in float16 if it were over 10 MB in float32, and NAME.json,
with the accuracy of the run and of the file, computed in float32.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from runs import VIEWS, load_data, write

import keras_davidnet
from keras_davidnet import datasets, presets, recipes

MOST_BYTES = 10_000_000


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=pathlib.Path, help="what runs.py had as --output"
    )
    parser.add_argument("seed", type=int, help="of the run to take")
    parser.add_argument(
        "--data", help="path of the images; without it, they are downloaded"
    )
    return parser.parse_args()


def accuracy_by_views(model, images, labels):
    """Accuracy by the views that are averaged."""
    accuracy = {}
    net = model.copy_with(dtype="float32")
    net.compile()
    for views in VIEWS:
        net.views = views
        _, accuracy[views or "plain"] = net.evaluate(
            images, labels, batch_size=1000, verbose=0
        )
    return accuracy


def main():
    args = parse_arguments()
    summary = json.loads((args.folder / "summary.json").read_text())
    if summary["set"]:
        raise SystemExit(
            "A preset must be of its recipe as it is. Received: "
            f"{summary['set']}"
        )
    source = args.folder / "nets" / f"seed-{args.seed}" / "net.keras"
    run = json.loads((args.folder / f"seed-{args.seed}.json").read_text())
    recipe = recipes.get(summary["recipe"])
    _, test = load_data(recipe, args.data)
    model = keras.saving.load_model(source, compile=False)
    if source.stat().st_size > MOST_BYTES:
        model = model.copy_with(dtype="float16")
    folder = pathlib.Path(presets.__file__).parent
    data = f"CIFAR{model.num_classes}"
    target = folder / f"{recipe.name}_{data.lower()}.keras"
    model.save(target)
    trained = datetime.date.fromtimestamp(source.stat().st_mtime)
    info = {
        "recipe": recipe.name,
        "dataset": f"CIFAR-{model.num_classes}",
        "class_names": getattr(datasets, f"{data}_CLASSES"),
        "seed": args.seed,
        "command": (
            f"python examples/measure/runs.py {recipe.name} --seeds "
            f"{args.seed} --precision {run['precision']}"
        ),
        "accuracy": {
            "run": run["accuracy"],
            # As presets.load() gives it: rounded to float16 if need be.
            "file": accuracy_by_views(model, *test),
        },
        "backend": keras.backend.backend(),
        "versions": {
            "keras_davidnet": keras_davidnet.__version__,
            **run["versions"],
        },
        "hardware": run["hardware"],
        "trained": trained.isoformat(),
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
    }
    write(target.with_suffix(".json"), info)
    print(json.dumps(info["accuracy"], indent=1))


if __name__ == "__main__":
    main()
