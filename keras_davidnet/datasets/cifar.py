"""Loads CIFAR-10 and CIFAR-100 by download or from a local file."""

import dataclasses
import hashlib
import os
import pathlib
import pickle
import tarfile
import zipfile
from types import ModuleType

import keras
import numpy as np

# Mean and standard deviation of the training images per channel (red, green,
# blue), scaled to [0, 1].
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN = (0.5071, 0.4865, 0.4409)
CIFAR100_STD = (0.2673, 0.2564, 0.2762)

# Names of the classes, in the order of the labels.
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# Each superclass with its five classes, as on
# https://www.cs.toronto.edu/~kriz/cifar.html
_SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": (
        "camel cattle chimpanzee elephant kangaroo"
    ),
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
CIFAR100_COARSE_CLASSES = tuple(_SUPERCLASSES)
CIFAR100_CLASSES = tuple(sorted(" ".join(_SUPERCLASSES.values()).split()))

Arrays = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """A data set of 32x32 images, and its official archive of pickles."""

    name: str
    keras_module: ModuleType
    url: str
    sha256: str
    train_files: tuple[str, ...]
    test_file: str
    labels_key: bytes
    num_classes: int
    num_train: int = 50_000
    num_test: int = 10_000


_CIFAR10 = _Dataset(
    "CIFAR-10",
    keras.datasets.cifar10,
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    # As in keras.datasets.cifar10.
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
    "cifar-10-batches-py/test_batch",
    b"labels",
    num_classes=10,
)
_CIFAR100 = _Dataset(
    "CIFAR-100",
    keras.datasets.cifar100,
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    # As in keras.datasets.cifar100.
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ("cifar-100-python/train",),
    "cifar-100-python/test",
    b"fine_labels",
    num_classes=100,
)


def load_cifar10(
    path: str | os.PathLike | None = None,
) -> tuple[Arrays, Arrays]:
    """Loads CIFAR-10: 50,000 training and 10,000 test images.

    Args:
        path: None to download it through `keras.datasets.cifar10`, or to take
            it from Keras's cache. Else the official archive
            `cifar-10-python.tar.gz`, which is read if its SHA-256 is right, or
            an `.npz` file with the arrays `x_train`, `y_train`, `x_test` and
            `y_test`. No code in a file is executed.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images of shape `(n, 32, 32,
        3)` and labels of shape `(n,)` in 0..9, all uint8.

    Raises:
        ConnectionError: If `path` is None and the download fails.
        FileNotFoundError: If there is no file at `path`.
        ValueError: If the file is not one of these, or damaged.

    Example:

    ```python
    (x_train, y_train), (x_test, y_test) = load_cifar10("cifar10.npz")
    ```
    """
    return _load(_CIFAR10, path)


def load_cifar100(
    path: str | os.PathLike | None = None, label_mode: str = "fine"
) -> tuple[Arrays, Arrays]:
    """Loads CIFAR-100: 50,000 training and 10,000 test images.

    Args:
        path: None to download it through `keras.datasets.cifar100`, or to take
            it from Keras's cache. Else the official archive
            `cifar-100-python.tar.gz`, which is read if its SHA-256 is right,
            or an `.npz` file with the arrays `x_train`, `y_train`, `x_test`
            and `y_test`, the labels fine ones. No code in a file is executed.
        label_mode: `"fine"` for the 100 classes, `datasets.CIFAR100_CLASSES`;
            `"coarse"` for their 20 superclasses,
            `datasets.CIFAR100_COARSE_CLASSES`.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images of shape `(n, 32, 32,
        3)` and labels of shape `(n,)` in 0..99 or 0..19, all uint8.

    Raises:
        ConnectionError: If `path` is None and the download fails.
        FileNotFoundError: If there is no file at `path`.
        ValueError: If the file is not one of these, or damaged, or its labels
            are coarse; or if `label_mode` is none of the two.

    Example:

    ```python
    (x_train, y_train), (x_test, y_test) = load_cifar100("cifar100.npz")
    ```
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(
            '`label_mode` must be "fine" or "coarse". '
            f"Received: label_mode={label_mode!r}"
        )
    train, test = _load(_CIFAR100, path)
    if label_mode == "fine":
        return train, test
    superclass = {
        name: index
        for index, names in enumerate(_SUPERCLASSES.values())
        for name in names.split()
    }
    coarse = np.array([superclass[name] for name in CIFAR100_CLASSES], "uint8")
    return (train[0], coarse[train[1]]), (test[0], coarse[test[1]])


def _load(dataset, path):
    if path is None:
        return _download(dataset)
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`path` must be an .npz file or the archive {dataset.url} of "
            f"{dataset.name}. Received: path={str(path)!r}, which is not a file"
        )
    try:
        if zipfile.is_zipfile(path):
            return _read_npz(dataset, path)
        return _read_archive(dataset, path)
    # Damaged zip and .npy files fail in many ways.
    except Exception as error:
        raise ValueError(
            f"`path` must hold {dataset.name}, undamaged: {error}. "
            f"Received: path={str(path)!r}"
        ) from error


def _download(dataset):
    try:
        train, test = dataset.keras_module.load_data()
    # Keras raises a plain Exception where the network is out of reach.
    except Exception as error:
        raise ConnectionError(
            f"{dataset.name} could not be downloaded from {dataset.url} "
            f"({error}). Get that archive, or an .npz file with x_train, "
            "y_train, x_test and y_test, and pass its path."
        ) from error
    # Keras's CIFAR-100 has labels of 64 bits, and images may have the channels
    # first.
    train, test = (
        (
            x if x.shape[-1] == 3 else x.transpose(0, 2, 3, 1),
            y.reshape(-1).astype("uint8"),
        )
        for x, y in (train, test)
    )
    return train, test


def _read_npz(dataset, path):
    def read(part, n):
        # Keras's loader returns the labels as a column.
        images, labels = file[f"x_{part}"], file[f"y_{part}"].reshape(-1)
        for array, name, shape in (
            (images, f"x_{part}", (n, 32, 32, 3)),
            (labels, f"y_{part}", (n,)),
        ):
            if array.shape != shape or array.dtype != "uint8":
                raise ValueError(
                    f"{name} must be of shape {shape} and dtype uint8, and is "
                    f"of shape {array.shape} and dtype {array.dtype}"
                )
        # Another data set has other labels; so have superclasses.
        if labels.max() != dataset.num_classes - 1:
            raise ValueError(
                f"y_{part} must hold the labels 0..{dataset.num_classes - 1} "
                f"of {dataset.num_classes} classes, and the largest is "
                f"{labels.max()}"
            )
        return images, labels

    with np.load(path, allow_pickle=False) as file:
        return read("train", dataset.num_train), read("test", dataset.num_test)


def _read_archive(dataset, path):
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != dataset.sha256:
            raise ValueError(
                f"it is neither an .npz file nor {dataset.url}, whose SHA-256 "
                f"is {dataset.sha256}"
            )

    def read(*names):
        batches = [
            # A regular file has content.
            _ArrayUnpickler(archive.extractfile(name), encoding="bytes").load()  # pyright: ignore[reportArgumentType]
            for name in names
        ]
        rows = np.concatenate([batch[b"data"] for batch in batches])
        images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.concatenate([b[dataset.labels_key] for b in batches])
        return np.ascontiguousarray(images), labels.astype("uint8")

    with tarfile.open(path) as archive:
        return read(*dataset.train_files), read(dataset.test_file)


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays, and no other objects."""

    def find_class(self, module, name):
        if (module.replace("_core", "core"), name) not in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        ):
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return super().find_class(module, name)
