"""Trains a classifier on your own images: a folder with a folder per class.

    python examples/train_folder.py flowers
    python examples/train_folder.py flowers --image-size 64 --predict rose.jpg

Holds out a fifth of the images, trains on the others and reports the accuracy
per class.  Saves the trained model with the names of its classes, a picture of
the confusion matrix and one of the worst mistakes.  Add --no-mirror if mirror
images are of another class or of none, as with letters.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

from keras_davidnet import datasets, decode_predictions, recipes


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("folder", help="holds a folder of images per class")
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--color-mode", choices=["grayscale", "rgb"])
    parser.add_argument("--no-mirror", action="store_true")
    parser.add_argument(
        "--recipe", choices=recipes.names(), default="airbench94_muon"
    )
    parser.add_argument("--predict", help="an image to classify at the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default="runs/folder")
    args = parser.parse_args()
    if args.predict and not os.path.isfile(args.predict):
        parser.error(f"--predict must be a file: {args.predict}")
    return args


def main():
    args = parse_arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    x, y, class_names = datasets.load_folder(
        args.folder,
        args.image_size,
        color_mode=args.color_mode,
        crop_to_aspect_ratio=True,
    )
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, stratify=y, random_state=args.seed
    )
    recipe = recipes.get(args.recipe).for_data(x_train, y_train)
    recipe = recipe.replace(class_names=class_names)
    if args.no_mirror:
        words = recipe.model().get_config()["augmentation"]
        recipe = recipe.replace(
            alternating_flip=False,
            views=None,
            augmentation=words.replace("_flip", ""),
        )
    print(
        f"{len(x_train)} training images of {len(class_names)} classes: "
        f"{recipe.epochs} epochs in batches of {recipe.batch_size}"
    )
    model = recipe.fit(x_train, y_train, seed=args.seed, verbose=2)

    logits = model.predict(x_test, batch_size=100, verbose=0)
    right = logits.argmax(1) == y_test
    print(f"\nAccuracy on {len(x_test)} images held out: {right.mean():.1%}")
    for label, name in enumerate(class_names):
        of_class = right[y_test == label]
        if len(of_class):
            print(f"  {of_class.mean():7.1%} of {len(of_class):4} {name}")

    model.save(args.output / "model.keras")
    save_confusion(logits, y_test, class_names, args.output / "confusion.png")
    save_mistakes(
        x_test, y_test, logits, class_names, args.output / "mistakes.png"
    )
    print("Wrote model.keras, confusion.png and mistakes.png to", args.output)

    if args.predict:
        model = keras.saving.load_model(args.output / "model.keras")
        print(f"\n{args.predict}:")
        for name, score in predict_file(model, args.predict):
            print(f"  {score:7.1%} {name}")


def save_confusion(logits, labels, class_names, path):
    """Plots how often each class was taken for each other."""
    size = 4 + len(class_names) / 3
    figure, axis = plt.subplots(figsize=(size, size), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        labels,
        logits.argmax(1),
        labels=range(len(class_names)),
        display_labels=class_names,
        xticks_rotation="vertical",
        cmap="Blues",
        colorbar=False,
        ax=axis,
    )
    figure.savefig(path, dpi=120)


def save_mistakes(images, labels, logits, class_names, path):
    """Shows the images whose own class got the lowest scores."""
    predicted = logits.argmax(1)
    scores = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(scores[wrong, labels[wrong]])][:16]
    figure, axes = plt.subplots(4, 4, figsize=(9, 10), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, index in zip(axes.flat, worst, strict=False):
        taken_for = class_names[predicted[index]]
        score = scores[index, predicted[index]]
        axis.imshow(images[index].squeeze(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(
            f"{class_names[labels[index]]}\ntaken for {taken_for}, {score:.0%}",
            fontsize=9,
        )
    figure.savefig(path, dpi=120)


def predict_file(model, path):
    """The most probable classes of an image file."""
    _, height, width, channels = model.input_shape
    image = keras.utils.load_img(
        path,
        "grayscale" if channels == 1 else "rgb",
        (height, width),
        interpolation="bilinear",
        keep_aspect_ratio=True,
    )
    image = keras.utils.img_to_array(image, "channels_last", "uint8")
    logits = model.predict(image[None], verbose=0)
    return decode_predictions(logits, model.class_names, top=3)[0]


if __name__ == "__main__":
    main()
