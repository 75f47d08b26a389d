"""Loads images of one's own: a folder per class."""

import importlib.util
import os
import pathlib
import warnings
from collections.abc import Sequence

import keras
import numpy as np

from keras_davidnet._checks import as_pair, check_size

# Keras's, and others that Pillow reads.
_SUFFIXES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".png"),
    *(".avif", ".jfif", ".jpe", ".pgm", ".ppm", ".tif", ".tiff", ".webp"),
)
_CHANNELS = {"grayscale": 1, "rgb": 3}


def load_folder(
    path: str | os.PathLike,
    image_size: int | tuple[int, int],
    *,
    color_mode: str | None = None,
    crop_to_aspect_ratio: bool = False,
    class_names: Sequence[str] | None = None,
    skip_broken: bool = True,
    verbose: bool = True,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Loads a folder that has a folder of images for each class.

    The classes are those of `keras.utils.image_dataset_from_directory`: the
    folders in `path` in alphabetical order, each with all images in it and in
    folders within.  They are read by `keras.utils.load_img`, which needs the
    package Pillow.

    The images come in a random order, the same one in every call, so that
    `validation_split` takes some of each class.

    Args:
        path: The folder.
        image_size: What the images are scaled to: `(height, width)`, or one
            number for both.
        color_mode: `"grayscale"` or `"rgb"`; by default what the images are,
            which must be the same for all.
        crop_to_aspect_ratio: Whether images of another aspect ratio are cropped
            at the center, not distorted.
        class_names: Names of the folders in the order of the labels.  Give
            those of the training images with the test images: folders of
            other names are then an error, and a class may be empty.
        skip_broken: Whether files that cannot be read are left out, with a
            warning that names them.  If not, they are an error.
        verbose: Whether to print the number of files and classes and to show
            a progress bar.

    Returns:
        `(images, labels, class_names)`: uint8 images of shape `(n, height,
        width, channels)`, int32 labels of shape `(n,)`, and the names of the
        classes.

    Raises:
        FileNotFoundError: If there is no folder at `path`.
        ImportError: If Pillow is not installed.
        ValueError: If there are fewer than two classes, or one without images,
            or the folders are not `class_names`; if there are images in gray
            levels and in colors and no `color_mode` is given; if the images
            would take more than half of the memory of the machine; or if an
            argument is none of these.

    Example:

    ```python
    x, y, class_names = datasets.load_folder("flowers/train", 48)
    x_test, y_test, _ = datasets.load_folder(
        "flowers/test", 48, class_names=class_names
    )
    ```
    """
    if importlib.util.find_spec("PIL") is None:
        raise ImportError(
            "`load_folder` reads images by Pillow, which is not installed: "
            "pip install pillow"
        )
    size = as_pair(check_size("image_size", image_size))
    if color_mode not in (None, *_CHANNELS):
        raise ValueError(
            f"`color_mode` must be None or one of {list(_CHANNELS)}. "
            f"Received: color_mode={color_mode!r}"
        )
    path = pathlib.Path(path)
    names = _class_folders(path, class_names)
    files, labels = [], []
    for label, name in enumerate(names):
        in_class = _image_files(path / name)
        files += in_class
        labels += [label] * len(in_class)
    _check_classes(path, names, labels, class_names)
    if verbose:
        print(f"Found {len(files)} files belonging to {len(names)} classes.")
    broken = {}

    def attempt(read, file):
        try:
            return read(file)
        # Damaged files fail in many ways.
        except Exception as error:
            if not skip_broken:
                raise ValueError(
                    f"A file in `path` cannot be read: {error}. "
                    f"Received: {str(file)!r}"
                ) from error
            broken[file] = error

    modes = [attempt(_color_mode, file) for file in files]
    color_mode = color_mode or _common_mode(modes, files)
    shape = (*size, _CHANNELS[color_mode])
    _check_memory(len(files), shape)

    def read(file):
        image = keras.utils.load_img(
            file,
            color_mode,
            size,
            interpolation="bilinear",
            keep_aspect_ratio=crop_to_aspect_ratio,
        )
        return keras.utils.img_to_array(image, "channels_last", "uint8")

    images, kept = np.empty((len(files), *shape), "uint8"), []
    progress = keras.utils.Progbar(
        len(files), verbose=int(verbose), unit_name="image"
    )
    order = np.random.default_rng(0).permutation(len(files))
    for count, index in enumerate(order, 1):
        if modes[index] is not None:
            image = attempt(read, files[index])
            if image is not None:
                images[len(kept)] = image
                kept.append(index)
        progress.update(count)
    if broken:
        warnings.warn(
            f"{len(broken)} of {len(files)} files could not be read and are "
            "left out: "
            + ", ".join(f"{file} ({error})" for file, error in broken.items()),
            stacklevel=2,
        )
    labels = np.array(labels, "int32")[kept]
    _check_classes(path, names, labels, class_names)
    return images[: len(kept)], labels, names


def _class_folders(path, class_names):
    if not path.is_dir():
        raise FileNotFoundError(
            "`path` must be a folder with a folder of images for each class. "
            f"Received: path={str(path)!r}, which is not a folder"
        )
    folders = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if len(folders) < 2:
        raise ValueError(
            "`path` must hold a folder of images for each of at least two "
            f"classes. Received: path={str(path)!r}, with the folders {folders}"
        )
    if class_names is None:
        return folders
    if sorted(class_names) != folders:
        raise ValueError(
            "`class_names` must be the names of the folders in `path`. "
            f"Received: class_names={list(class_names)}, folders {folders}"
        )
    return list(class_names)


def _check_classes(path, names, labels, class_names):
    found = set(labels)
    empty = [name for label, name in enumerate(names) if label not in found]
    # A folder of test images may lack some of the classes that are given.
    if len(empty) == len(names) or empty and class_names is None:
        raise ValueError(
            "Every class must have images, in files that end in "
            f"{', '.join(_SUFFIXES)}. Received: path={str(path)!r}, without "
            f"images in {empty}"
        )


def _image_files(folder):
    return sorted(
        pathlib.Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(_SUFFIXES)
    )


def _color_mode(file):
    """Keras's word for the pixels of a file, of which it reads the header."""
    import PIL.Image

    with PIL.Image.open(file) as image:
        mode = image.mode
    # Pillow and Keras would cut off more than 8 bits, not scale them.
    if mode.startswith(("I", "F")):
        raise ValueError("its pixels have more than 8 bits")
    return "grayscale" if mode in ("1", "L", "LA") else "rgb"


def _common_mode(modes, files):
    examples = {
        mode: str(file)
        for mode, file in zip(modes, files, strict=True)
        if mode is not None
    }
    if len(examples) > 1:
        raise ValueError(
            "Some of the images are in gray levels and others in color: give "
            '`color_mode`, "grayscale" or "rgb", to which all are converted. '
            f"Received: color_mode=None, images such as {examples}"
        )
    return next(iter(examples), "rgb")


def _check_memory(n, shape):
    size = n * np.prod(shape, dtype="int64")
    # Elsewhere NumPy itself refuses what is too large.
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Recipes that flip images hold them twice.
    if size > memory / 2:
        raise ValueError(
            f"{n} images of {shape} would take {size / 1e9:.1f} GB, and the "
            f"machine has {memory / 1e9:.1f} GB, of which training needs as "
            "much again: give a smaller `image_size`, or use "
            "keras.utils.image_dataset_from_directory. "
            f"Received: image_size={shape[:2]}"
        )
