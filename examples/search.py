"""Searches hyperparameters of DavidNet on scikit-learn's digits.

    python examples/search.py
    python examples/search.py --tuner hyperband
    python examples/search.py --tuner bayesian --trials 30

To continue an interrupted search, run the same command again; `--overwrite`
starts over.  It needs the extras `examples` and `tuner`.
"""

import argparse
import os
import pathlib
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import keras_tuner
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets

from keras_davidnet.tuning import DavidNetHyperModel

OBJECTIVE = "val_accuracy"


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
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--tuner", choices=["random", "hyperband", "bayesian"], default="random"
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=12,
        help="number of trials, in all runs of the search together; Hyperband "
        "derives it from the epochs",
    )
    parser.add_argument(
        "--epochs", type=int, default=6, help="maximum for one trial"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("runs/search")
    )
    return parser.parse_args()


def make_tuner(args, images):
    hypermodel = DavidNetHyperModel(
        width=[4, 8, 16],
        peak_learning_rate=(0.02, 0.5),
        # The mirror image of a digit is not a digit.
        augmentation=["none", "crop", "crop_cutout"],
        batch_size=[32, 64, 128],
        epochs=args.epochs,
        mean=(images.mean() / 255,) * 3,
        std=(images.std() / 255,) * 3,
    )
    shared = {
        "objective": OBJECTIVE,
        "seed": args.seed,
        "directory": args.output,
        "project_name": args.tuner,
        "overwrite": args.overwrite,
    }
    if args.tuner == "hyperband":
        return keras_tuner.Hyperband(
            hypermodel, max_epochs=args.epochs, **shared
        )
    if args.tuner == "bayesian":
        return keras_tuner.BayesianOptimization(
            hypermodel,
            max_trials=args.trials,
            # The first half is random.
            num_initial_points=max(1, args.trials // 2),
            **shared,
        )
    return keras_tuner.RandomSearch(
        hypermodel, max_trials=args.trials, **shared
    )


def print_table(trials, names):
    """The trials, best first, as a table in Markdown."""
    rows = [["trial", OBJECTIVE, *names]]
    for trial in trials:
        values = (trial.hyperparameters.values.get(name) for name in names)
        rows.append([trial.trial_id, *map(text, [trial.score, *values])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        cells = (
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        )
        print("|", " | ".join(cells), "|")


def text(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def save_picture(trials, names, logarithmic, path):
    """Plots the score of every trial against each hyperparameter."""
    trials = sorted(
        (trial for trial in trials if trial.score is not None),
        key=lambda trial: trial.trial_id,
    )
    scores = [trial.score for trial in trials]
    figure, axes = plt.subplots(
        3, 4, figsize=(14, 9), sharey=True, layout="constrained"
    )
    first, *others = axes.flat
    first.step(range(len(scores)), np.maximum.accumulate(scores), where="post")
    first.plot(scores, "o")
    first.set(xlabel="trial, and the best so far", ylabel=OBJECTIVE)
    # Without the few trials that did not learn.
    first.set_ylim(np.quantile(scores, 0.1) - 0.01, max(scores) + 0.005)
    for axis, name in zip(others, names, strict=False):
        values = [trial.hyperparameters.values[name] for trial in trials]
        axis.plot(values, scores, "o", alpha=0.7)
        axis.set_xlabel(name)
        if name in logarithmic:
            axis.set_xscale("log")
            ticks = np.geomspace(min(values), max(values), 3)
            axis.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
            axis.minorticks_off()
    for axis in others[len(names) :]:
        axis.remove()
    figure.savefig(path, dpi=100)


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    (x_train, y_train), (x_test, y_test) = load_digits()
    # Trials are compared on a fifth of the training digits, so that the test
    # digits stay unseen.
    split = len(x_train) * 4 // 5
    (x_train, x_valid), (y_train, y_valid) = (
        np.split(array, [split]) for array in (x_train, y_train)
    )
    tuner = make_tuner(args, x_train)
    start = time.perf_counter()
    tuner.search(
        x_train, y_train, validation_data=(x_valid, y_valid), verbose=2
    )
    seconds = time.perf_counter() - start
    if "KERASTUNER_ORACLE_IP" in os.environ and (
        "chief" not in os.environ["KERASTUNER_TUNER_ID"]
    ):
        return  # a worker; the chief reports

    trials = tuner.oracle.get_best_trials(len(tuner.oracle.trials))
    space = [
        hp
        for hp in tuner.oracle.get_space().space
        if not isinstance(hp, keras_tuner.engine.hyperparameters.Fixed)
    ]
    names = [hp.name for hp in space]
    if args.tuner == "hyperband":
        names.append("tuner/epochs")
    print()
    print_table(trials, names)
    folder = pathlib.Path(tuner.project_dir)
    logarithmic = {
        hp.name for hp in space if getattr(hp, "sampling", None) == "log"
    }
    save_picture(trials, names, logarithmic, folder / "trials.png")
    (model,) = tuner.get_best_models()
    model.save(folder / "model.keras")
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(
        f"\nThe best of {len(trials)} trials reaches {accuracy:.1%} on "
        f"{len(x_test)} digits that the search had not seen. This run of it "
        f"took {seconds:.0f} s."
    )
    print(f"Wrote {folder / 'model.keras'} and {folder / 'trials.png'}")


if __name__ == "__main__":
    main()
